"""Rows as sentences: "This is a user, age is 25, job is writer. This is a movie, title is Heat, genre is War|Drama"."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from llactr_core.data.canonical import KEPT, canonical_array
from llactr_core.data.encoding import Encoder
from llactr_core.data.fields import flat_array, read_numbers, split_values
from llactr_core.data.parts import part_values
from llactr_core.data.vocabulary import Vocabulary
from llactr_core.enhancers.ctrl.options import Nouns
from llactr_core.errors import SchemaError
from llactr_core.schema import Field, Kind, humanise
from llactr_core.semantics.values.textual import is_worded

SIDES = ("user", "item", "context", None)
CLAUSES = ("who ", "which ", "that ")  # "who has recently watched" is followed by its values, without "is"
MOST_CODES = 256  # a field of more values than that without a word in them has ids
_DIGEST = 33  # characters: what stands for the rest of a long text


@dataclass(frozen=True)
class Clause:
    """What a sentence says of one field: its phrase, and where the field stands in the schema."""

    field: Field
    phrase: str


@dataclass(frozen=True)
class SentenceTemplate:
    """How the rows of a schema are written.

    The user's side comes first, then the item's, the context's and the fields without a side; a period between sides,
    commas between features, "|" in lists. A missing value is left out with its phrase, and a side without any field
    that can be told is left out too. Numbers are written as they are; raw ids are not written at all.
    """

    sides: tuple[tuple[str, tuple[Clause, ...]], ...]

    @classmethod
    def of(cls, encoder: Encoder, nouns: Nouns) -> Self:
        """The template of an encoder's schema.

        A field is left out where its `textual` is false, and, if the schema says nothing, where it holds raw ids: its
        name ends in "id", or it has many values, most of them without a word.

        Raises:
            SchemaError: nothing is left to say.
        """
        told = [
            field for field, known in zip(encoder.schema.fields, encoder.known, strict=True) if is_told(field, known)
        ]
        if not told:
            raise SchemaError(
                f"no field of schema {encoder.schema.name!r} can be told in a sentence: all of them hold ids; set "
                "'textual' to true where the values are readable, or choose another enhancer"
            )
        sides = []
        for side in SIDES:
            clauses = tuple(Clause(field, _phrase(field)) for field in told if field.side == side)
            if clauses:
                sides.append((f"This is {getattr(nouns, side or 'row')}", clauses))
        return cls(tuple(sides))

    @property
    def clauses(self) -> tuple[Clause, ...]:
        """Those of all sides, in order."""
        return tuple(clause for _, clauses in self.sides for clause in clauses)

    @property
    def text(self) -> str:
        """The template itself, with the fields' names in place of values."""
        return self.sentence([f"{{{clause.field.name}}}" for clause in self.clauses])

    @property
    def digest(self) -> str:
        """SHA-256 of the template, as hex."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    def sentence(self, values: Sequence[str | None]) -> str:
        """The sentence of one row, from the values of `clauses` in their order; None where one is missing."""
        written, place = [], 0
        for introduction, clauses in self.sides:
            own = zip(clauses, values[place : place + len(clauses)], strict=True)
            said = [f"{clause.phrase} {value}" for clause, value in own if value]
            written.append(", ".join([introduction, *said]) + ".")
            place += len(clauses)
        return " ".join(written)


class Sentences:
    """The sentences of N rows, each written when it is asked for.

    What is kept are the values' numbers, 4 bytes per row and field, and each distinct value once.

    Args:
        template: of the rows.
        batches: the rows, in order, with the template's columns.
    """

    def __init__(self, template: SentenceTemplate, batches: Iterable[pa.RecordBatch]) -> None:
        self.template = template
        columns: list[list[pa.DictionaryArray]] = [[] for _ in template.clauses]
        for batch in batches:
            for column, clause in zip(columns, template.clauses, strict=True):
                column.append(readable_texts(clause.field, batch.column(clause.field.column)))
        self._columns = [pa.chunked_array(column).unify_dictionaries().combine_chunks() for column in columns]

    def __len__(self) -> int:
        """The number of rows N."""
        return len(self._columns[0])

    def of(self, rows: npt.NDArray[np.int64]) -> list[str]:
        """The sentences of some rows, by their numbers."""
        chosen = pa.array(rows)
        columns = [column.take(chosen).to_pylist() for column in self._columns]
        return [self.template.sentence(values) for values in zip(*columns, strict=True)]


def is_told(field: Field, known: object) -> bool:
    """Whether sentences tell a field's values; `known` is its vocabulary, or the knots of a numeric field."""
    if field.textual is not None:
        return field.textual
    if not isinstance(known, Vocabulary) or field.part is not None:
        return True
    if humanise(field.name).split()[-1] in ("id", "ids"):
        return False
    return len(known.values) <= MOST_CODES or is_worded(known.values.to_pylist())


def _phrase(field: Field) -> str:
    """The field's description in one line, such that values can follow."""
    text = " ".join(field.text.split()).rstrip(".")
    return text if text.lower().startswith(CLAUSES) else f"{text} is"


def readable_texts(field: Field, column: pa.Array) -> pa.DictionaryArray:
    """A column's values as sentences write them, [B], int32 numbers of distinct texts; null where one is missing."""
    array = flat_array(field, column)
    if field.part is not None:
        array = part_values(field, array)
    elif field.kind == Kind.NUMERIC and not pa.types.is_floating(array.type):
        array = pa.array(read_numbers(field, array)[0])
    elif field.kind == Kind.MULTI_VALUED:
        array = pa.array([_joined(field, value) for value in array.to_pylist()], pa.string())
    encoded = canonical_array(array) if field.kind != Kind.MULTI_VALUED else array.dictionary_encode()
    texts = pa.array([_readable(value) for value in encoded.dictionary.to_pylist()], pa.string())
    return pa.DictionaryArray.from_arrays(encoded.indices, texts)


def _joined(field: Field, value: object) -> str | None:
    if value is None:
        return None
    return "|".join(split_values(field, value, most=field.max_values)) or None


def _readable(text: str) -> str:
    """A value without what stands for the rest of a text that was too long, in one line."""
    is_cut = len(text) == KEPT + _DIGEST and text[KEPT] == "#"
    return " ".join((text[:KEPT] if is_cut else text).split())
