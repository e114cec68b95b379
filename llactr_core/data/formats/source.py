"""What every readable dataset file offers: its columns, its rows in batches, and its digest."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from functools import cached_property
from io import BufferedReader
from pathlib import Path

import pyarrow as pa

from llactr_core.errors import DataError
from llactr_core.remote import Location, size_of

BATCH_ROWS = 65_536
BATCH_BYTES = 64 * 2**20
_CHUNK = 2**20


class Source(ABC):
    """A dataset file, local or remote, that can be read any number of times, a batch at a time, in bounded memory.

    Rows are counted from 1 in messages, a header line not included.
    """

    def __init__(self, path: Location) -> None:
        self.path = path

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns, in file order.

        Raises:
            DataError: the file cannot be read, or a name occurs twice.
        """
        return self._read_columns()

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """The rows, in order, in batches of at most 65,536 rows and about 64 MiB.

        Args:
            columns: the columns wanted, in the order wanted; all by default.

        Raises:
            DataError: a column does not exist, or the file turns out to be damaged while it is read.
        """
        wanted = list(self.columns if columns is None else columns)
        for name in wanted:
            require_column(self, name)
        return rebatched(self._read_batches(wanted))

    def digest(self) -> str:
        """SHA-256 of the file's bytes, in hex."""
        state = hashlib.sha256()
        with self.path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                state.update(chunk)
        return state.hexdigest()

    @abstractmethod
    def _read_columns(self) -> tuple[str, ...]: ...

    @abstractmethod
    def _read_batches(self, columns: list[str]) -> Iterator[pa.RecordBatch]: ...


def require_column(source: Source, name: str) -> None:
    """Check that a source has a column.

    Raises:
        DataError: it has none of that name; the message lists the columns and a near match.
    """
    if name not in source.columns:
        raise DataError(f"{source.path}: {no_such_column(name, source.columns)}", field=name)


def no_such_column(name: str, columns: Sequence[str]) -> str:
    """The message for a column that is not there: a near match where there is one, and the columns that are."""
    by_lower = {column.lower(): column for column in columns}
    near = get_close_matches(name.lower(), list(by_lower), n=1, cutoff=0.6)
    hint = f" Did you mean {by_lower[near[0]]!r}?" if near else ""
    shown = ", ".join(columns[:30]) + (f" and {len(columns) - 30} more" if len(columns) > 30 else "")
    return f"there is no column {name!r}.{hint} Columns: {shown}"


def arrow_input(path: Location) -> Path | BufferedReader:
    """A file as Arrow's readers take it: they read a local one by themselves, a remote one through a stream."""
    return path if isinstance(path, Path) else path.open("rb")


def unique_columns(path: Location, names: Sequence[str]) -> tuple[str, ...]:
    """The names as a tuple.

    Raises:
        DataError: a name occurs twice.
    """
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"{path}: columns that occur more than once: {', '.join(twice)}; give each its own name")
    return tuple(names)


def rebatched(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The same rows in batches that are full: 65,536 rows, or fewer where they fill 64 MiB."""
    held: list[pa.RecordBatch] = []
    rows = size = 0
    for batch in batches:
        start = 0
        while start < batch.num_rows:
            part = batch.slice(start, BATCH_ROWS - rows)
            start += part.num_rows
            held.append(part)
            rows += part.num_rows
            size += part.nbytes
            if rows == BATCH_ROWS or size >= BATCH_BYTES:
                yield _joined(held)
                held, rows, size = [], 0, 0
    if held:
        yield _joined(held)


def _joined(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    return batches[0] if len(batches) == 1 else pa.concat_batches(batches)


def not_utf8(path: Location, limit: int = 2**30) -> DataError:
    """The error for a text file that is not UTF-8, with its first bad line's number where that is cheap to find."""
    if path.suffix != ".gz" and size_of(path) <= limit:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                try:
                    line.decode("utf-8")
                except UnicodeDecodeError:
                    return DataError(f"{path}: line {number} is not valid UTF-8; convert the file to UTF-8")
    return DataError(f"{path}: the file is not valid UTF-8; convert it to UTF-8")
