"""The value table: what it refuses, its bytes, and that every text is read once."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from llactr_core.errors import ArtifactError
from llactr_core.schema import Field, Schema
from llactr_core.semantics.table import Vectors
from llactr_core.semantics.values.gather import table_of, unit
from llactr_core.semantics.values.table import ValueTable

SCHEMA = Schema(name="films", fields=(Field(name="Title"), Field(name="genre", description="kind of film")))
VALUES = {"Title": ["Alien", "Ä\nß", ""], "genre": ["horror", "Alien"]}


class Model:
    """Vectors that follow from the text, and a list of what was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, texts: Sequence[str]) -> Vectors:
        self.asked += texts
        rows = [np.random.default_rng(list(text.encode())).normal(size=8) for text in texts]
        return unit(np.array(rows, np.float32))


def test_a_saved_table_comes_back_bit_for_bit(tmp_path: Path) -> None:
    table = table_of(SCHEMA, VALUES, Model(), "m", "r")
    table.save(tmp_path / "v")
    back = ValueTable.load(tmp_path / "v")
    assert back == table
    assert back.values == table.values == (("Alien", "Ä\nß", ""), ("horror", "Alien"))
    assert back.vectors.tobytes() == table.vectors.tobytes()
    assert back.of("genre")[0] == ("horror", "Alien")
    assert np.array_equal(back.of("genre")[1], table.vectors[3:])
    assert back.of("nothing")[0] == ()


@pytest.mark.parametrize("place", [3, 200, -1])
def test_a_damaged_file_is_refused(tmp_path: Path, place: int) -> None:
    content = bytearray(table_of(SCHEMA, VALUES, Model(), "m", "r").to_bytes())
    content[place] ^= 1
    (tmp_path / "v").write_bytes(content)
    with pytest.raises(ArtifactError, match="value table"):
        ValueTable.load(tmp_path / "v")


def test_a_file_that_is_missing_or_cut_off_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="No such file"):
        ValueTable.load(tmp_path / "v")
    with pytest.raises(ArtifactError, match="no value table"):
        ValueTable.from_bytes(table_of(SCHEMA, VALUES, Model(), "m", "r").to_bytes()[:-9])


@pytest.mark.parametrize(
    ("fields", "values", "vectors", "said"),
    [
        (("a",), (("x", "x"),), np.ones((2, 3), np.float32), "twice"),
        (("a", "a"), (("x",), ("y",)), np.ones((2, 3), np.float32), "twice"),
        (("a",), (("x",),), np.ones((2, 3), np.float32), "float32"),
        (("a",), (("x",),), np.ones((1, 3)), "float64"),
        (("a",), (("x",),), np.full((1, 3), np.nan, np.float32), "finite"),
    ],
)
def test_what_does_not_fit_together_is_refused(
    fields: tuple[str, ...], values: tuple[tuple[str, ...], ...], vectors: Vectors, said: str
) -> None:
    with pytest.raises(ArtifactError, match=said):
        ValueTable(fields, values, vectors, "m", "r")


def test_each_text_is_read_once_and_a_former_table_answers_for_what_it_has() -> None:
    model = Model()
    first = table_of(SCHEMA, VALUES, model, "m", "r")
    assert sorted(model.asked) == sorted(
        ["title: Alien", "title: Ä\nß", "title: ", "kind of film: horror", "kind of film: Alien"]
    )
    model.asked.clear()
    more = table_of(SCHEMA, {"genre": ["war", "horror"], "Title": ["Alien"]}, model, "m", "r", known=first)
    assert model.asked == ["kind of film: war"]
    assert np.array_equal(more.of("genre")[1][1], first.of("genre")[1][0])
    table_of(SCHEMA, {"genre": ["horror"]}, model, "m", "another recipe", known=first)
    assert model.asked == ["kind of film: war", "kind of film: horror"]


def test_equal_content_has_an_equal_version_and_any_difference_another_one() -> None:
    table = table_of(SCHEMA, VALUES, Model(), "m", "r")
    assert table.version == table_of(SCHEMA, VALUES, Model(), "m", "r").version
    others = [
        table_of(SCHEMA, VALUES, Model(), "m", "other"),
        table_of(SCHEMA, {**VALUES, "genre": ["horror", "Aliens"]}, Model(), "m", "r"),
        table_of(SCHEMA, {"genre": VALUES["genre"], "Title": VALUES["Title"]}, Model(), "m", "r"),
    ]
    assert len({table.version, *(other.version for other in others)}) == 4


def test_without_any_value_the_table_is_empty() -> None:
    assert len(table_of(SCHEMA, {}, Model(), "m", "r").vectors) == 0
