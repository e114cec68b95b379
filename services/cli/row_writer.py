"""Writing record batches to a CSV, JSONL or Parquet file that is there whole or not at all."""

import json
import math
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from services.cli.console import CommandError


class RowWriter(ABC):
    """Takes batches of one schema."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @abstractmethod
    def write(self, batch: pa.RecordBatch) -> None:
        """Append the rows [B] of a batch."""

    @abstractmethod
    def close(self) -> None:
        """Finish the file."""


class ParquetRows(RowWriter):
    """Parquet, a row group per batch."""

    _writer: pa.parquet.ParquetWriter | None = None

    def write(self, batch: pa.RecordBatch) -> None:
        """Append the rows [B] of a batch."""
        if self._writer is None:
            self._writer = pa.parquet.ParquetWriter(self.path, batch.schema)
        self._writer.write_batch(batch)

    def close(self) -> None:
        """Finish the file."""
        if self._writer is not None:
            self._writer.close()


class CsvRows(RowWriter):
    """CSV with a header; lists are refused, since CSV has none."""

    _writer: pa.csv.CSVWriter | None = None

    def write(self, batch: pa.RecordBatch) -> None:
        """Append the rows [B] of a batch."""
        for field in batch.schema:
            if pa.types.is_nested(field.type):
                raise CommandError(f"column {field.name!r} holds lists, which CSV cannot; write .jsonl or .parquet")
        if self._writer is None:
            self._writer = pa.csv.CSVWriter(self.path, batch.schema)
        self._writer.write_batch(batch)

    def close(self) -> None:
        """Finish the file."""
        if self._writer is not None:
            self._writer.close()


class JsonlRows(RowWriter):
    """One JSON object per line; NaN and infinities become null."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._file = path.open("w", encoding="utf-8")

    def write(self, batch: pa.RecordBatch) -> None:
        """Append the rows [B] of a batch."""
        for row in batch.to_pylist():
            plain = {name: _finite(value) for name, value in row.items()}
            self._file.write(json.dumps(plain, ensure_ascii=False, default=str) + "\n")

    def close(self) -> None:
        """Finish the file."""
        self._file.close()


WRITERS: dict[str, type[RowWriter]] = {
    ".parquet": ParquetRows,
    ".csv": CsvRows,
    ".jsonl": JsonlRows,
    ".ndjson": JsonlRows,
}


@contextmanager
def open_writer(path: Path) -> Iterator[RowWriter]:
    """A writer for the format that the suffix names; the file appears when the block ends without an error.

    Raises:
        CommandError: the suffix names no format, or the folder cannot be written to.
    """
    kind = WRITERS.get(path.suffix.lower())
    if kind is None:
        raise CommandError(f"{path}: {path.suffix or 'no suffix'} cannot be written; allowed: {', '.join(WRITERS)}")
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        writer = kind(partial)
        try:
            yield writer
        finally:
            writer.close()
        if partial.exists():
            partial.replace(path)
    except OSError as error:
        raise CommandError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        partial.unlink(missing_ok=True)


def _finite(value: object) -> object:
    return None if isinstance(value, float) and not math.isfinite(value) else value
