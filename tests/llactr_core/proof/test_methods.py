"""Other methods as arms."""

from takeaway import scene_table

from llactr_core.proof.arms import Read, method_arms
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
