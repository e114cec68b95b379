import pytest

from services.cli.console import CommandError
from services.cli.options import parse_options


def test_values_are_json_or_text() -> None:
    pairs = ["epochs=3", "rate=1e-3", "on=true", "backbone=fm", "b.hidden=[8, 4]", "b.dropout=0.1", "text=a=b", "no="]
    assert parse_options(pairs) == {
        "epochs": 3,
        "rate": 1e-3,
        "on": True,
        "backbone": "fm",
        "b": {"hidden": [8, 4], "dropout": 0.1},
        "text": "a=b",
        "no": "",
    }


def test_nothing_given() -> None:
    assert parse_options(None) is None
    assert parse_options([]) is None


@pytest.mark.parametrize("pairs", [["epochs"], ["=3"], ["a=1", "a.b=2"]])
def test_what_cannot_be_read(pairs: list[str]) -> None:
    with pytest.raises(CommandError):
        parse_options(pairs)
