"""Train, valid and test: from a folder of three files, or from one file that is split 8:1:1 while it is read."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from llactr_core.data.formats.jsonl_file import JsonlSource
from llactr_core.data.mixing import mixed
from llactr_core.data.read import SUFFIXES, Source, open_source, require_column
from llactr_core.errors import DataError
from llactr_core.remote import Location, located

SEED = 2026
FEWEST_ROWS = 10
NAMES = ("train", "valid", "test")
_BLOCK = 10

Part = Literal["train", "valid", "test"]


@dataclass(frozen=True)
class Splits:
    """The three parts of a dataset, and in one sentence how they were made."""

    train: Source
    valid: Source
    test: Source
    how: str


class RowsOf(Source):
    """The rows of a file that belong to one part of it: a view that filters while it reads.

    Of every ten consecutive rows one goes to valid, another one to test and eight to train; which ones follows from
    the seed and the block's number alone.
    """

    def __init__(self, whole: Source, part: Part, seed: int = SEED) -> None:
        super().__init__(whole.path)
        self.whole, self.part, self.seed = whole, part, seed

    def digest(self) -> str:
        """SHA-256 over the whole file's digest, the part and the seed, in hex."""
        return hashlib.sha256(f"{self.whole.digest()} {self.part} 8:1:1 seed {self.seed}".encode()).hexdigest()

    def _read_columns(self) -> tuple[str, ...]:
        return self.whole.columns

    def _read_batches(self, columns: list[str]) -> Iterator[pa.RecordBatch]:
        position = 0
        for batch in self.whole.batches(columns):
            rows = part_of_rows(position, batch.num_rows, self.seed) == NAMES.index(self.part)
            position += batch.num_rows
            yield batch.filter(pa.array(rows))


def open_dataset(path: str | Location, label: str | None = None) -> Splits:
    """Open a dataset.

    Args:
        path: a folder that holds train, valid and test files (Parquet, CSV or JSONL), or one such file; local, or
            under a URL that fsspec reads.
        label: the label's column, which then has to exist in all parts.

    Raises:
        DataError: a file is missing or unreadable, the label's column does not exist, a valid or test file lacks a
            column of train, or there are fewer than 10 rows.
        OptionError: the URL is not plain, or its driver is not installed.
        UnavailableError: the store of a remote dataset does not answer; also later, while rows are read.
    """
    path = located(path)
    if not path.exists():
        raise DataError(f"{path}: no such file or folder; give a dataset file, or a folder of train/valid/test files")
    splits = _from_folder(path) if path.is_dir() else _from_file(path)
    if label is not None:
        for source in (splits.train, splits.valid, splits.test):
            require_column(source, label)
    _require_rows(splits.train.whole if isinstance(splits.train, RowsOf) else splits.train)
    return splits


def part_of_rows(first: int, count: int, seed: int = SEED) -> np.ndarray[Any, np.dtype[np.int8]]:
    """The part of each of `count` rows from position `first` on: int8 [count], 0 train, 1 valid, 2 test."""
    positions = np.arange(first, first + count, dtype=np.uint64)
    block, place = positions // np.uint64(_BLOCK), positions % np.uint64(_BLOCK)
    words = mixed(block + mixed(np.array([seed], np.uint64)))
    valid = words % np.uint64(_BLOCK)
    step = np.uint64(1) + (words >> np.uint64(32)) % np.uint64(_BLOCK - 1)
    test = (valid + step) % np.uint64(_BLOCK)
    return np.where(place == valid, 1, np.where(place == test, 2, 0)).astype(np.int8)


def _from_file(path: Location) -> Splits:
    whole = open_source(path)
    how = f"{path.name} split 8:1:1: of every ten consecutive rows one is valid and one test, drawn with seed {SEED}"
    return Splits(RowsOf(whole, "train"), RowsOf(whole, "valid"), RowsOf(whole, "test"), how)


def _from_folder(folder: Location) -> Splits:
    present = {entry.name for entry in folder.iterdir()}
    found = {name: [f"{name}{suffix}" for suffix in SUFFIXES if f"{name}{suffix}" in present] for name in NAMES}
    files = {name: [folder / entry for entry in found[name] if (folder / entry).is_file()] for name in NAMES}
    absent = [name for name, paths in files.items() if not paths]
    if absent:
        raise DataError(
            f"{folder}: no file for {' and '.join(absent)}; a dataset folder holds train, valid and test, each as one "
            f"of {', '.join(SUFFIXES)}: add what is missing, or give one file, which is split 8:1:1"
        )
    for name, paths in files.items():
        if len(paths) > 1:
            raise DataError(f"{folder}: {' and '.join(p.name for p in paths)} are both {name}; keep one of them")
    train, valid, test = (open_source(files[name][0]) for name in NAMES)
    valid, test = _like(train, valid), _like(train, test)
    return Splits(train, valid, test, f"the files {', '.join(files[name][0].name for name in NAMES)} of {folder.name}")


def _like(train: Source, other: Source) -> Source:
    """`other` with at least the columns of train. JSONL may leave a key out of every line; other formats may not."""
    absent = [name for name in train.columns if name not in other.columns]
    if not absent:
        return other
    if isinstance(other, JsonlSource):
        return JsonlSource(other.path, expected=train.columns)
    raise DataError(f"{other.path}: columns of {train.path.name} are missing: {', '.join(absent)}; add them")


def _require_rows(source: Source) -> None:
    first = source.columns[:1]
    rows = sum(batch.num_rows for batch in islice(source.batches(first), 1))
    if rows < FEWEST_ROWS:
        raise DataError(f"{source.path}: {rows} rows are too few to learn from; give at least {FEWEST_ROWS}")
