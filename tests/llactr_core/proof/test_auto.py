"""The choice between plain and its enhancements: the simpler one, unless the other is shown to be better."""

import numpy as np
import pytest

from llactr_core.proof.arms import Arm, Read
from llactr_core.proof.auto import Choice, chosen
from llactr_core.proof.intervals import Judged
from llactr_core.proof.study import ArmResult, Outcome
from llactr_core.semantics.semantics import Semantics

SIGNAL = np.random.default_rng(0).normal(size=3000)
LABELS = (np.random.default_rng(1).random(3000) < 1 / (1 + np.exp(-SIGNAL))).astype(np.float64)


def nothing(_read: Read) -> Semantics:
    return Semantics()


def result(name: str, noise: float, *, backbone: str = "fm", seed: int = 0, scale: float = 1.0) -> ArmResult:
    """Scores that follow the signal with noise of their own; what is scaled is badly calibrated."""
    random = np.random.default_rng((seed, len(name)))
    logits = SIGNAL + noise * random.normal(size=(3, len(SIGNAL)))
    llactr: dict[str, object] | None = None if name == "plain" else {"value_dims": 0}
    arm = Arm(name, name, nothing, llactr)
    return ArmResult(arm, backbone, 1 / (1 + np.exp(-scale * logits)), {"learning_rate": 0.01}, 3, 100)


def choice_of(*results: ArmResult) -> Choice:
    outcome = Outcome(Judged(LABELS, None), LABELS, list(results), {}, "", True, (1, 2, 3))
    return chosen(outcome, {"epochs": 7}, [], "files")


def test_without_a_difference_plain_ships() -> None:
    choice = choice_of(result("plain", 1.0), result("fields", 1.0), result("values", 1.0, seed=3))
    assert choice.arm == "plain"
    assert choice.options.enhancer == "none"
    assert "nothing was surely better" in choice.reason
    assert [arm["arm"] for arm in choice.lineage["arms"]] == ["plain", "fields", "values"]  # type: ignore[attr-defined]


def test_what_is_shown_to_be_better_ships_with_its_options() -> None:
    choice = choice_of(result("plain", 1.5), result("fields", 1.5), result("values", 0.3))
    assert choice.arm == "values"
    assert (choice.options.enhancer, choice.options.learning_rate, choice.options.epochs) == ("llactr", 0.01, 7)
    assert "above zero" in choice.reason


def test_of_two_that_are_as_good_the_simpler_one_ships() -> None:
    same = result("values", 0.3)
    both = ArmResult(Arm("fields + values", "", nothing, {}), "fm", same.scores, {}, 3, 100)
    assert choice_of(result("plain", 1.5), both, same).arm == "values"
    assert (
        choice_of(result("plain", 1.5), result("fields + values", 0.1), result("values", 0.9)).arm == "fields + values"
    )


def test_a_better_order_with_much_worse_probabilities_does_not_ship() -> None:
    assert choice_of(result("plain", 1.0), result("values", 0.3, scale=9.0)).arm == "plain"


def test_the_base_is_plain_of_the_better_backbone() -> None:
    plains = (result("plain", 2.0, backbone="fm"), result("plain", 0.3, backbone="deepfm"))
    choice = choice_of(*plains, result("fields", 1.0, backbone="fm"))
    assert (choice.arm, choice.options.backbone) == ("plain", "deepfm")


def test_a_choice_is_read_as_it_was_kept() -> None:
    choice = choice_of(result("plain", 1.5), result("values", 0.3))
    assert Choice.parse(choice.as_json()) == choice


@pytest.mark.parametrize("seed", range(3))
def test_noise_alone_seldom_ships(seed: int) -> None:
    others = [result(name, 1.0, seed=10 * seed + 1) for name in ("fields", "values", "fields + values")]
    assert choice_of(result("plain", 1.0, seed=10 * seed), *others).arm == "plain"
