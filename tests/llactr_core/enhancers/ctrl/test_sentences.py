"""Rows as sentences."""

import numpy as np
import pyarrow as pa
import pytest

from llactr_core.data.encoding import Encoder
from llactr_core.enhancers.ctrl.options import Nouns
from llactr_core.enhancers.ctrl.sentences import Sentences, SentenceTemplate
from llactr_core.errors import SchemaError
from llactr_core.schema import Field, Kind, Schema

FILMS = Schema(
    name="films",
    label="click",
    fields=(
        Field(name="Title", description="title", side="item"),
        Field(name="UserID", description="identity of the user", side="user"),
        Field(name="Gender", description="gender", side="user"),
        Field(name="Age", description="age", kind=Kind.NUMERIC, side="user"),
        Field(name="Genres", description="genre", kind=Kind.MULTI_VALUED, max_values=2, side="item"),
        Field(name="Recent", description="who has recently watched", kind=Kind.MULTI_VALUED, side="user"),
        Field(name="day", source="when", part="weekday", description="day\n of the week. ", side="context"),
    ),
)
ROWS = pa.table({
    "Title": ["Heat", None, "Alien"],
    "UserID": [1, 2, 3],
    "Gender": ["female", "male", "  "],
    "Age": [18.0, 33.5, float("nan")],
    "Genres": ["Crime|Drama|Action", "", "Horror"],
    "Recent": [["Ran", "Brazil"], [], None],
    "when": ["2026-11-23", None, "2026-11-24"],
})  # fmt: skip


def sentences(schema: Schema = FILMS, rows: pa.Table = ROWS, nouns: Nouns | None = None) -> list[str]:
    template = SentenceTemplate.of(Encoder.fit(schema, rows.to_batches()), nouns or Nouns(item="a movie"))
    made = Sentences(template, rows.to_batches(max_chunksize=2))
    assert len(made) == len(rows)
    return made.of(np.arange(len(rows)))


def test_a_period_between_sides_commas_between_features_and_bars_in_lists() -> None:
    assert sentences()[0] == (
        "This is a user, gender is female, age is 18, who has recently watched Ran|Brazil. "
        "This is a movie, title is Heat, genre is Crime|Drama. This is a request, day of the week is Monday."
    )


def test_missing_values_are_left_out_and_the_sides_stay() -> None:
    assert sentences()[1:] == [
        "This is a user, gender is male, age is 33.5. This is a movie. This is a request.",
        "This is a user. This is a movie, title is Alien, genre is Horror. This is a request, day of the week is "
        "Tuesday.",
    ]


def test_rows_are_found_by_number_whatever_the_batches() -> None:
    template = SentenceTemplate.of(Encoder.fit(FILMS, ROWS.to_batches()), Nouns())
    made = [Sentences(template, ROWS.to_batches(max_chunksize=size)).of(np.array([2, 0, 2])) for size in (1, 2, 3)]
    assert made[0] == made[1] == made[2]
    assert "Alien" in made[0][0]
    assert made[0][0] == made[0][2]
    assert "Heat" in made[0][1]


@pytest.mark.parametrize(("field", "values", "is_told"), [
    (Field(name="movie_id"), ["x1", "x2"], False),
    (Field(name="movie_id", textual=True), ["x1", "x2"], True),
    (Field(name="zip"), [f"9{n}" for n in range(300)], False),
    (Field(name="zip"), ["94107", "10001"], True),
    (Field(name="job"), [f"writer of part {n}" for n in range(300)], True),
    (Field(name="job", textual=False), ["writer", "painter"], False),
    (Field(name="paid", kind=Kind.NUMERIC), list(range(300)), True),
])  # fmt: skip
def test_raw_ids_are_not_told(field: Field, values: list[object], is_told: bool) -> None:
    schema = Schema(name="s", fields=(Field(name="colour"), field))
    rows = pa.table({"colour": ["red"] * len(values), field.name: values})
    told = f" is {values[0]}" in sentences(schema, rows)[0].replace("colour is red", "")
    assert told is is_told


def test_only_ids_cannot_be_told() -> None:
    schema = Schema(name="ids", fields=(Field(name="user_id"), Field(name="item_id")))
    rows = pa.table({"user_id": [1, 2], "item_id": [3, 4]})
    with pytest.raises(SchemaError, match=r"no field of schema 'ids' can be told.*set 'textual' to true"):
        sentences(schema, rows)


def test_long_texts_and_lines_are_readable() -> None:
    schema = Schema(name="s", fields=(Field(name="plot", textual=True),))
    made = sentences(schema, pa.table({"plot": ["once\nupon  a time", "word " * 80]}))
    assert made[0] == "This is a row, plot is once upon a time."
    assert made[1] == f"This is a row, plot is {('word ' * 40).strip()}."


def test_the_template_has_a_name_of_its_own() -> None:
    encoder = Encoder.fit(FILMS, ROWS.to_batches())
    plain, other = SentenceTemplate.of(encoder, Nouns()), SentenceTemplate.of(encoder, Nouns(item="a movie"))
    assert "title is {Title}, genre is {Genres}" in plain.text
    assert plain.digest == SentenceTemplate.of(encoder, Nouns()).digest != other.digest


def test_numbers_that_came_as_text_are_told_as_numbers() -> None:
    schema = Schema(name="s", fields=(Field(name="paid", kind=Kind.NUMERIC),))
    rows = pa.table({"paid": ["1.0", "abc", None, "inf", "2.5"]})
    told = sentences(schema, rows)
    assert (told[0], told[4]) == ("This is a row, paid is 1.", "This is a row, paid is 2.5.")
    assert told[1:4] == ["This is a row."] * 3
