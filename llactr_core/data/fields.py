"""How one field of a row becomes ids and weights: one encoder per kind, for Python values and for Arrow columns.

Every encoder fills a fixed number of slots s per row with local ids int32 [B, s] and weights float32 [B, s]; the
field's embedding is the weighted sum of the slots' embeddings. Weights of None mean one slot of weight 1.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Protocol, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from llactr_core.data.canonical import canonical, canonical_array, plain_array, texts_of
from llactr_core.data.parts import part_value, part_values
from llactr_core.data.values.cells import Cells
from llactr_core.data.values.index import FieldIndex
from llactr_core.data.values.scanning import numbers
from llactr_core.data.vocabulary import FIRST_VALUE, MISSING, PADDING, UNSEEN, Ids, Vocabulary
from llactr_core.errors import DataError, RowError
from llactr_core.schema import Field, Kind

Weights = npt.NDArray[np.float32]
Knots = npt.NDArray[np.float64]
Slots = tuple[Ids, Weights | None]
RAW_BYTES = 256  # a text of no more of them is its own canonical form
_PLAIN = frozenset({str, int, float, bool, type(None)})  # looked up first: most values are of these types
_NESTED = (list, tuple, dict, set, frozenset, np.ndarray)


class FieldEncoder(Protocol):
    """Turns the values of one field into slots."""

    field: Field
    slots: int

    def __len__(self) -> int:
        """The number of local ids V_k."""
        ...

    def extended(self, newer: Self) -> Vocabulary | Knots:
        """What this encoder and a newer one of the same field know; local ids stay as they are."""
        ...

    def encode_values(self, values: Sequence[object]) -> Slots:
        """Slots of B Python values."""
        ...

    def encode_array(self, array: pa.Array) -> Slots:
        """Slots of an Arrow column of B values."""
        ...

    def encode_cells(self, cells: Cells, column: int) -> Slots:
        """Slots of a column of the cells [B, C]."""
        ...


class CategoricalEncoder:
    """One id per value."""

    slots = 1

    def __init__(self, field: Field, vocabulary: Vocabulary, index: FieldIndex) -> None:
        self.field = field
        self.vocabulary = vocabulary
        self._index = index

    def __len__(self) -> int:
        """The number of local ids V_k."""
        return len(self.vocabulary)

    def extended(self, newer: Self) -> Vocabulary:
        """The vocabulary with the values that only a newer one knows, up to the field's `max_vocabulary`."""
        return self.vocabulary.extended(newer.vocabulary, self.field.max_vocabulary)

    def encode_values(self, values: Sequence[object]) -> Slots:
        """Ids [B, 1]."""
        for row, value in enumerate(values):
            if type(value) not in _PLAIN and isinstance(value, _NESTED):
                raise nested(self.field, row, value)
        if self.field.part is not None:
            return self._index.ids_of([part_value(self.field, value) for value in values])[:, None], None
        try:
            return self._index.ids_of(list(map(canonical, values)))[:, None], None
        except DataError:
            for row, value in enumerate(values):
                _canonical(self.field, row, value)
            raise

    def encode_array(self, array: pa.Array) -> Slots:
        """Ids [B, 1]."""
        array = flat_array(self.field, array)
        if self.field.part is not None:
            array = part_values(self.field, array)
        elif pa.types.is_string(array.type) or pa.types.is_large_string(array.type):
            cells = Cells.of_strings(texts_of(array))
            ids, has_odd = self._index.ids_of_cells(cells, RAW_BYTES)
            if has_odd:
                self.mend(ids, cells, 0)
            return ids[:, None], None
        strings = canonical_array(array)
        table = np.append(self._index.ids_of(strings.dictionary.to_pylist()), np.int32(MISSING))
        return table[_indices(strings)][:, None], None

    def encode_cells(self, cells: Cells, column: int) -> Slots:
        """Ids [B, 1]."""
        return self.encode_values([cells.value(row, column) for row in range(len(cells))])

    def mend(self, ids: Ids, cells: Cells, column: int) -> None:
        """Replace what is -1 among the ids [B] of a column, by way of the canonical form."""
        odd = np.flatnonzero(ids < 0)
        ids[odd] = self.encode_values([cells.value(int(row), column) for row in odd])[0][:, 0]


class NumericEncoder:
    """A number between two quantile knots is a mixture of the two knots' learned embeddings.

    This is a piecewise linear encoding (Gorishniy et al., NeurIPS 2022) whose knot vectors are trained. Values beyond
    the outer knots take the outer embedding; NaN and infinities are missing; what is no number is unseen.
    """

    slots = 2

    def __init__(self, field: Field, knots: Knots) -> None:
        self.field = field
        self.knots = knots

    def __len__(self) -> int:
        """The number of local ids V_k."""
        return FIRST_VALUE + len(self.knots)

    def extended(self, _newer: Self) -> Knots:
        """These knots: they mean what they meant when their embeddings were trained."""
        return self.knots

    def encode_values(self, values: Sequence[object]) -> Slots:
        """Ids and weights [B, 2]."""
        found = np.empty(len(values))
        strange = np.zeros(len(values), bool)
        for row, value in enumerate(values):
            if type(value) not in _PLAIN and isinstance(value, _NESTED):
                raise nested(self.field, row, value)
            if self.field.part is not None:
                value = part_value(self.field, value)
            found[row], strange[row] = parse_number(value)
        return self._slots(found, strange)

    def encode_array(self, array: pa.Array) -> Slots:
        """Ids and weights [B, 2]."""
        return self._slots(*read_numbers(self.field, array))

    def encode_cells(self, cells: Cells, column: int) -> Slots:
        """Ids and weights [B, 2]."""
        if self.field.part is not None:
            return self.encode_values([cells.value(row, column) for row in range(len(cells))])
        values, odd, strange = np.empty(len(cells)), np.zeros(len(cells), bool), np.zeros(len(cells), bool)
        if numbers(cells.data, cells.starts, cells.lengths, cells.kinds, column, values, odd):
            for row in np.flatnonzero(odd).tolist():
                values[row], strange[row] = parse_number(cells.value(row, column))
        return self._slots(values, strange)

    def _slots(self, found: npt.NDArray[np.float64], strange: npt.NDArray[np.bool_]) -> Slots:
        missing = ~np.isfinite(found)
        ids = np.full((len(found), 2), PADDING, np.int32)
        weights = np.zeros((len(found), 2), np.float32)
        if len(self.knots):
            x = np.clip(np.where(missing, self.knots[0], found), self.knots[0], self.knots[-1])
            low = np.clip(np.searchsorted(self.knots, x, side="right") - 1, 0, max(len(self.knots) - 2, 0))
            high = np.minimum(low + 1, len(self.knots) - 1)
            half = self.knots / 2  # halves of the largest numbers have a difference that is finite
            gap = half[high] - half[low]
            share = np.divide(x / 2 - half[low], gap, out=np.zeros_like(x), where=gap > 0)
            ids[:, 0], ids[:, 1] = FIRST_VALUE + low, FIRST_VALUE + high
            weights[:, 0], weights[:, 1] = 1 - share, share
        special = missing | strange
        ids[special, 0] = np.where(strange[special], UNSEEN, MISSING)
        ids[special, 1] = PADDING
        weights[special] = (1, 0)
        return ids, weights


class MultiValuedEncoder:
    """The mean of up to `max_values` values; padding has weight 0. A list without values is missing."""

    def __init__(self, field: Field, vocabulary: Vocabulary, index: FieldIndex) -> None:
        self.field = field
        self.vocabulary = vocabulary
        self.slots = field.max_values
        self._index = index

    def __len__(self) -> int:
        """The number of local ids V_k."""
        return len(self.vocabulary)

    def extended(self, newer: Self) -> Vocabulary:
        """The vocabulary with the values that only a newer one knows, up to the field's `max_vocabulary`."""
        return self.vocabulary.extended(newer.vocabulary, self.field.max_vocabulary)

    def encode_values(self, values: Sequence[object]) -> tuple[Ids, Weights]:
        """Ids and weights [B, max_values]."""
        lists: list[list[str | None]] = [
            [*split_values(self.field, value, row, self.slots)] or [None] for row, value in enumerate(values)
        ]
        counts = np.fromiter(map(len, lists), np.int64, len(lists))
        is_taken = np.arange(self.slots) < counts[:, None]  # [B, max_values]
        ids = np.full(is_taken.shape, PADDING, np.int32)
        weights = np.zeros(is_taken.shape, np.float32)
        ids[is_taken] = self._index.ids_of([part for parts in lists for part in parts])
        weights[is_taken] = np.repeat(1 / counts, counts)
        return ids, weights

    def encode_array(self, array: pa.Array) -> Slots:
        """Ids and weights [B, max_values]."""
        array = flat_array(self.field, array)
        if pa.types.is_nested(array.type):
            return self.encode_values(array.to_pylist())
        texts = array if pa.types.is_dictionary(array.type) else array.dictionary_encode()
        ids, weights = self.encode_values([*texts.dictionary.to_pylist(), None])
        where = _indices(texts)
        return ids[where], weights[where]

    def encode_cells(self, cells: Cells, column: int) -> Slots:
        """Ids and weights [B, max_values]."""
        return self.encode_values([cells.value(row, column) for row in range(len(cells))])


def split_values(field: Field, value: object, row: int | None = None, most: int | None = None) -> list[str]:
    """The first `most` canonical values of a multi-valued entry: a list of scalars, or a text with separators."""
    if isinstance(value, dict):
        raise nested(field, row, value)
    parts: Iterable[object] = [value]
    if isinstance(value, str):
        parts = _pieces(value, field.separator)
    elif isinstance(value, _NESTED):
        parts = list(value)
        for part in parts:
            if isinstance(part, _NESTED):
                raise nested(field, row, part)
    known = (_canonical(field, row, part.strip() if isinstance(part, str) else part) for part in parts)
    return list(islice((part for part in known if part is not None), most))


def _pieces(text: str, separator: str) -> Iterator[str]:
    """`text.split(separator)`, one piece at a time: a text of millions of them is not taken apart as a whole."""
    start = 0
    while (end := text.find(separator, start)) >= 0:
        yield text[start:end]
        start = end + len(separator)
    yield text[start:]


def parse_number(value: object) -> tuple[float, bool]:
    """The number and whether the value is none: (NaN, False) for a missing one, (NaN, True) for one such as "abc"."""
    if value is None or (isinstance(value, str) and not value):
        return math.nan, False
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return math.nan, True
    return (number, False) if math.isfinite(number) else (math.nan, False)


def read_numbers(field: Field, array: pa.Array) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """`parse_number` of an Arrow column: float64 [B] with NaN for missing, and bool [B] for what is no number."""
    array = flat_array(field, array)
    if field.part is not None:
        array = part_values(field, array)
    kind = array.type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind):
        if pa.types.is_boolean(kind):
            array = pc.cast(array, pa.int8())
        numbers = pc.fill_null(pc.cast(array, pa.float64(), safe=False), math.nan).to_numpy(zero_copy_only=False)
        return np.where(np.isfinite(numbers), numbers, math.nan), np.zeros(len(numbers), bool)
    texts = array if pa.types.is_dictionary(kind) else array.dictionary_encode()
    parsed = [parse_number(value) for value in texts.dictionary.to_pylist()] + [(math.nan, False)]
    where = _indices(texts)
    return np.array([p[0] for p in parsed])[where], np.array([p[1] for p in parsed])[where]


def flat_array(field: Field, array: pa.Array) -> pa.Array:
    """A column in one piece and of a type that can be read: plain values, or lists under a multi-valued field.

    Raises:
        RowError: a value is nested where that is not allowed; names row and field.
    """
    array = plain_array(array)
    if not pa.types.is_nested(array.type) or (field.kind == Kind.MULTI_VALUED and _is_list(array.type)):
        return array
    given = np.flatnonzero(array.is_valid().to_numpy(zero_copy_only=False))
    if not len(given):
        return pa.nulls(len(array), pa.string())
    row = int(given[0])
    raise nested(field, row, array[row].as_py())


def _is_list(kind: pa.DataType) -> bool:
    tests = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    views = (pa.types.is_list_view, pa.types.is_large_list_view)
    return any(test(kind) for test in (*tests, *views))


def _canonical(field: Field, row: int | None, value: object) -> str | None:
    try:
        return canonical(value)
    except DataError as error:
        raise RowError(f"field {field.name!r}: {error.detail}", row=row, field=field.column) from error


def nested(field: Field, row: int | None, value: object) -> RowError:
    """The error for a list or object where a single value is expected."""
    given = "an object" if isinstance(value, dict) else "a list"
    multi = field.kind == Kind.MULTI_VALUED
    allowed = "a text or a list of plain values" if multi else "a text, a number, true, false or null"
    return RowError(f"field {field.name!r} has {given} as its value; give {allowed}", row=row, field=field.column)


def _indices(array: pa.DictionaryArray) -> npt.NDArray[np.int64]:
    """Positions in the dictionary, int64 [B]; a null points behind its end."""
    indices = pc.fill_null(pc.cast(array.indices, pa.int64()), len(array.dictionary))
    return np.asarray(indices.to_numpy(zero_copy_only=False), dtype=np.int64)
