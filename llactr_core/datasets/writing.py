"""Writing a prepared dataset: train, valid and test in Parquet, cut 8:1:1 in the order in which the rows come."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import pyarrow as pa
from pyarrow import parquet

from llactr_core.data.formats.source import BATCH_ROWS, rebatched
from llactr_core.data.labels import label_values, require_both_classes
from llactr_core.errors import DataError
from llactr_core.progress import Progress, ProgressCallback
from llactr_core.schema import Schema

NAMES = ("train", "valid", "test")
FEWEST_ROWS = 10
SCHEMA_FILE = "schema.yaml"


@dataclass(frozen=True)
class PreparedDataset:
    """A dataset on disk: its folder, its schema file, and the rows of train, valid and test."""

    path: Path
    schema: Path
    rows: dict[str, int]


def bounds(rows: int) -> tuple[int, int, int]:
    """Where train, valid and test end: train has int(0.8 N) rows, valid int(0.1 N), test the rest."""
    train, valid = rows * 8 // 10, rows // 10
    return train, train + valid, rows


class SplitWriter:
    """Takes rows in their final order and writes them to the three files; a file is complete or not there.

    Use as a context manager: the files get their final names when the block ends without an error.
    """

    def __init__(self, out: Path, columns: pa.Schema, rows: int) -> None:
        self.out, self.columns = out, columns
        self.ends = bounds(rows)
        self.written = 0
        self._writers: dict[str, parquet.ParquetWriter] = {}

    def __enter__(self) -> Self:
        self.out.mkdir(parents=True, exist_ok=True)
        for name in NAMES:
            self._writers[name] = parquet.ParquetWriter(self._partial(name), self.columns, compression="zstd")
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        for writer in self._writers.values():
            writer.close()
        for name in NAMES:
            if kind is None:
                self._partial(name).replace(self.out / f"{name}.parquet")
            else:
                self._partial(name).unlink(missing_ok=True)

    def write(self, batch: pa.RecordBatch) -> None:
        """Append rows, each to the part that its position belongs to."""
        start = 0
        for name, end in zip(NAMES, self.ends, strict=True):
            part = batch.slice(start, max(0, end - self.written))
            if part.num_rows:
                self._writers[name].write_batch(part.cast(self.columns), row_group_size=BATCH_ROWS)
                self.written += part.num_rows
                start += part.num_rows

    def _partial(self, name: str) -> Path:
        return self.out / f".{name}.parquet.partial"


def write_splits(
    batches: Iterable[pa.RecordBatch], rows: int, schema: Schema, out: Path, progress: ProgressCallback
) -> PreparedDataset:
    """Write a stream of `rows` rows in their final order, and the schema beside them.

    Raises:
        DataError: there are fewer than 10 rows, a label is neither 0 nor 1, or all rows have the same label.
    """
    if rows < FEWEST_ROWS:
        raise DataError(f"{rows} rows are left after the dataset's own rules; at least {FEWEST_ROWS} are needed")
    stream = rebatched(batches)
    first = next(stream)
    positives = 0
    label = schema.label or ""
    with SplitWriter(out, first.schema, rows) as writer:
        for batch in _chain(first, stream):
            positives += int(label_values(batch.column(label), label, writer.written + 1).sum())
            writer.write(batch)
            progress(Progress("writing the splits", min(1.0, writer.written / rows)))
        require_both_classes(positives, writer.written, label, f"the {schema.name} files")
    schema.save(out / SCHEMA_FILE)
    ends = writer.ends
    counts = dict(zip(NAMES, (ends[0], ends[1] - ends[0], ends[2] - ends[1]), strict=True))
    return PreparedDataset(out, out / SCHEMA_FILE, counts)


def table_batches(table: pa.Table) -> Iterator[pa.RecordBatch]:
    """The rows of a table in batches."""
    yield from table.to_batches(max_chunksize=BATCH_ROWS)


def _chain(first: pa.RecordBatch, rest: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    yield first
    yield from rest
