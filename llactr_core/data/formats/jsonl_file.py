"""JSON lines: one object per line. A first pass finds the columns and a type for each, a second one reads the rows."""

import gzip
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from io import BufferedIOBase

import msgspec
import pyarrow as pa

from llactr_core.data.canonical import canonical
from llactr_core.data.formats.source import BATCH_BYTES, BATCH_ROWS, Source, not_utf8
from llactr_core.errors import DataError
from llactr_core.remote import Location

Row = dict[str, object]
_EXACT = 2**53
_INT64 = range(-(2**63), 2**63)
_ARROW: dict[frozenset[str], pa.DataType] = {
    frozenset({"bool"}): pa.bool_(),
    frozenset({"int"}): pa.int64(),
    frozenset({"int64"}): pa.int64(),
    frozenset({"int", "int64"}): pa.int64(),
    frozenset({"float"}): pa.float64(),
    frozenset({"int", "float"}): pa.float64(),
}


@dataclass
class _Seen:
    """The types of one column's values that the first pass met."""

    kinds: set[str] = field(default_factory=set)

    def arrow(self) -> pa.DataType:
        """The type of the column: text where the values' types differ, a list of text where one is a list."""
        if "list" in self.kinds:
            return pa.list_(pa.string())
        return _ARROW.get(frozenset(self.kinds), pa.string())


class JsonlSource(Source):
    """A JSONL file (.jsonl, .ndjson, also with .gz). A key that a line lacks is null there.

    Values may be text, numbers, true, false, null and lists of those. A column whose values differ in type is text,
    each value in its canonical form, so that 3 and "3" are one value.
    """

    def __init__(self, path: Location, expected: Sequence[str] = ()) -> None:
        """`expected` names columns that exist even if no line has them: all null, where the file has no such key."""
        super().__init__(path)
        self._expected = expected

    def _read_columns(self) -> tuple[str, ...]:
        return tuple(self._types)

    @cached_property
    def _types(self) -> dict[str, pa.DataType]:
        seen: dict[str, _Seen] = {}
        for number, row in self._rows():
            for name, value in row.items():
                if value is not None:
                    seen.setdefault(name, _Seen()).kinds.add(self._kind(value, name, number))
                elif name not in seen:
                    seen[name] = _Seen()
        if not seen:
            raise DataError(f"{self.path}: the file is empty; expected one JSON object per line")
        for name in self._expected:
            seen.setdefault(name, _Seen())
        return {name: kinds.arrow() for name, kinds in seen.items()}

    def _kind(self, value: object, name: str, number: int) -> str:
        if isinstance(value, list):
            nested = any(isinstance(item, (list, dict)) for item in value)
        else:
            nested = isinstance(value, dict)
        if nested:
            what = "a nested list" if isinstance(value, list) else "an object"
            raise DataError(
                f"{self.path}: row {number}, field {name!r}: the value is {what}; only text, numbers, true, false, "
                "null and lists of those can be read: flatten or drop it",
                row=number,
                field=name,
            )
        if type(value) is int and abs(value) > _EXACT:
            return "int64" if value in _INT64 else "long"
        return type(value).__name__

    def _read_batches(self, columns: list[str]) -> Iterator[pa.RecordBatch]:
        types = {name: self._types[name] for name in columns}
        held: list[Row] = []
        size = 0
        with self._open() as file:
            for number, line in self._lines(file):
                held.append(self._row(line, number))
                size += len(line)
                if len(held) == BATCH_ROWS or size >= BATCH_BYTES:
                    yield _batch(held, types)
                    held, size = [], 0
        if held:
            yield _batch(held, types)

    def _rows(self) -> Iterator[tuple[int, Row]]:
        with self._open() as file:
            for number, line in self._lines(file):
                yield number, self._row(line, number)

    @contextmanager
    def _open(self) -> Iterator[BufferedIOBase]:
        with self.path.open("rb") as file:
            if self.path.suffix == ".gz":
                with gzip.open(file) as unpacked:
                    yield unpacked
            else:
                yield file

    def _lines(self, file: BufferedIOBase) -> Iterator[tuple[int, bytes]]:
        """The lines that are not blank, each with its number among them, from 1."""
        number = 0
        try:
            for line in file:
                line = line.strip(b"\r\n\t ")
                if line:
                    number += 1
                    yield number, line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
        except (EOFError, OSError) as error:
            raise DataError(f"{self.path}: cannot be read to its end: {error}") from error

    def _row(self, line: bytes, number: int) -> Row:
        try:
            row = msgspec.json.decode(line)
        except msgspec.DecodeError:
            row = self._lenient(line, number)
        except UnicodeDecodeError as error:
            raise not_utf8(self.path) from error
        if not isinstance(row, dict):
            raise DataError(
                f"{self.path}: row {number} is no JSON object but {line[:40]!r}; give one object per line", row=number
            )
        return row

    def _lenient(self, line: bytes, number: int) -> object:
        """What the strict parser refuses but Python writes: NaN and Infinity."""
        try:
            return json.loads(line.decode("utf-8"))
        except UnicodeDecodeError as error:
            raise not_utf8(self.path) from error
        except (ValueError, RecursionError) as error:
            raise DataError(f"{self.path}: row {number} is not valid JSON: {error}", row=number) from error


def _batch(rows: list[Row], types: dict[str, pa.DataType]) -> pa.RecordBatch:
    arrays = [_column([row.get(name) for row in rows], kind) for name, kind in types.items()]
    return pa.RecordBatch.from_arrays(arrays, names=list(types))


def _column(values: list[object], kind: pa.DataType) -> pa.Array:
    if pa.types.is_list(kind):
        return pa.array([None if value is None else _items(value) for value in values], kind)
    if pa.types.is_string(kind):
        return pa.array([_text(value) for value in values], kind)
    return pa.array(values, kind)


def _items(value: object) -> list[str | None]:
    return [_text(item) for item in value] if isinstance(value, list) else [_text(value)]


def _text(value: object) -> str | None:
    """Text as it is (half of a surrogate pair replaced), anything else in its canonical form."""
    if not isinstance(value, str):
        return canonical(value)
    return value if value.isascii() else value.encode("utf-8", "replace").decode("utf-8")
