import pytest
from pydantic import ValidationError

from llactr_core.errors import OptionError
from llactr_core.semantics.options import SsftOptions


def test_defaults_are_the_papers():
    options = SsftOptions()
    assert (options.rank, options.alpha, options.temperature, options.sam_num) == (8, 16, 0.02, 200)
    assert options.objective == "contrastive"


def test_unknown_options_are_named_with_the_known_ones():
    with pytest.raises(OptionError, match=r"sam_nun: .*allowed: objective, skip, sam_num") as caught:
        SsftOptions.parse({"sam_nun": 3})
    assert caught.value.field == "sam_nun"


@pytest.mark.parametrize(
    ("name", "value"),
    [("epochs", 0), ("temperature", 0), ("objective", "guess"), ("rank", 0), ("seed", -1), ("held_out", 0.9)],
)
def test_values_out_of_range_are_named(name: str, value: object):
    with pytest.raises(OptionError, match=f"{name}: .*given: {value!r}"):
        SsftOptions.parse({name: value})


def test_options_are_frozen():
    with pytest.raises(ValidationError, match="frozen"):
        SsftOptions().epochs = 3


def test_options_that_contradict_each_other_are_refused():
    with pytest.raises(OptionError, match="at most 4 processes can share it") as caught:
        SsftOptions.parse({"batch_size": 4, "processes": 5})
    assert caught.value.field == "processes"
    with pytest.raises(OptionError, match="each module's name once"):
        SsftOptions.parse({"targets": ["q_proj", "q_proj"]})
