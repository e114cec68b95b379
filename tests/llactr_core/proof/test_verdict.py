import pytest

from llactr_core.proof.arms import BOTH, PLAIN, WIDENED
from llactr_core.proof.intervals import Comparison, Difference
from llactr_core.proof.reporting.report import judge

RIVALS = (
    PLAIN,
    WIDENED,
    "random value vectors",
    "equal value vectors",
    "random field vectors",
    "untuned language model",
)


def comparison(value: float) -> Comparison:
    """One whose interval is 0.1 wide to either side."""
    difference = Difference(value, value - 0.1, value + 0.1, 0.14)
    return Comparison(difference, difference, difference)


@pytest.mark.parametrize(
    ("level", "code"),
    [
        ((), "gain"),
        (("random field vectors",), "gain-of-values"),
        (("random field vectors", "untuned language model"), "gain-of-values"),
        (("random value vectors",), "gain-of-fields"),
        (("random value vectors", "random field vectors"), "not-semantics"),
        (("random field vectors", WIDENED), "not-semantics"),
        ((PLAIN,), "no-gain"),
    ],
    ids=["all", "fields level", "tuning level", "values level", "both level", "widened level", "plain level"],
)
def test_a_gain_is_that_of_the_part_whose_controls_are_beaten(level: tuple[str, ...], code: str) -> None:
    verdict = judge(BOTH, {rival: comparison(0.05 if rival in level else 0.2) for rival in RIVALS})
    assert verdict.code == code
    assert all(name in verdict.text for name in level if code != "no-gain")


def test_worse_is_said() -> None:
    against = {rival: comparison(-0.2) for rival in RIVALS}
    assert judge(BOTH, against).code == "worse"
