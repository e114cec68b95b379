"""Other methods as arms."""

from takeaway import scene_table

from llactr_core.proof.arms import Read, method_arms
from llactr_core.proof.options import ProveOptions
from llactr_core.proof.search import defaults
from llactr_core.proof.study import options_of
from llactr_core.semantics.semantics import Semantics


def test_larr_is_an_arm_with_its_own_semantics_and_search() -> None:
    (arm,) = method_arms(["larr"])
    scenes = Semantics(values=scene_table())
    assert arm.semantics(Read(Semantics(), Semantics(), scenes)) is scenes
    searched = defaults(arm)
    assert {"larr.align_weight", "learning_rate"} <= set(searched)
    options = options_of(arm, {**searched, "larr.align_weight": 0.5}, {"larr": {"width": 8}, "epochs": 3})
    assert (options.enhancer, options.larr.align_weight, options.larr.width, options.epochs) == ("larr", 0.5, 8, 3)
    assert method_arms([]) == []


def test_a_methods_own_options_hold_in_every_run_and_quick_shortens_what_was_not_given() -> None:
    own = {"ctrl": {"epochs": 2, "nouns": {"item": "a film"}}, "larr": {"most_items": 9, "align_weight": 0}}
    options = ProveOptions.parse({"methods": ("ctrl", "larr"), **own})
    assert ProveOptions.parse(options.model_dump(mode="json")).fixed == options.fixed == own
    assert ProveOptions().fixed == {}
    ctrl, larr = (options_of(arm, defaults(arm), options.fixed) for arm in method_arms(["ctrl", "larr"]))
    assert (ctrl.ctrl.epochs, ctrl.ctrl.nouns.item, ctrl.ctrl.nouns.user) == (2, "a film", "a user")
    assert (larr.larr.most_items, larr.larr.align_weight) == (9, 0)
    quick = options.model_copy(update={"quick": True})
    assert (quick.its_larr.most_items, quick.its_larr.contrast_epochs) == (9, 1)
    assert (options.its_larr.most_items, options.its_larr.contrast_epochs) == (9, 2)
    assert options.its_ctrl == ctrl.ctrl
