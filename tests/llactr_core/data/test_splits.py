"""Train, valid and test from a folder or from one file."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from llactr_core.data.read import Source
from llactr_core.data.splits import open_dataset, part_of_rows
from llactr_core.errors import DataError


def column(source: Source, name: str) -> list[object]:
    return [value for batch in source.batches([name]) for value in batch.column(0).to_pylist()]


def csv_of(path: Path, rows: int, header: str = "x,click") -> Path:
    path.write_text(header + "\n" + "".join(f"{i},{i % 2}\n" for i in range(rows)))
    return path


@pytest.mark.parametrize("rows", [10, 11, 97, 1000, 70_003])
def test_one_file_is_split_without_loss(tmp_path: Path, rows: int) -> None:
    splits = open_dataset(csv_of(tmp_path / "a.csv", rows), "click")
    parts = [column(source, "x") for source in (splits.train, splits.valid, splits.test)]
    assert sorted(int(str(x)) for part in parts for x in part) == list(range(rows))
    assert abs(len(parts[1]) - rows / 10) <= 1
    assert abs(len(parts[2]) - rows / 10) <= 1
    assert len(parts[1]) > 0
    assert len(parts[2]) > 0
    assert parts == [column(s, "x") for s in (splits.train, splits.valid, splits.test)]
    assert "seed 2026" in splits.how
    assert len({splits.train.digest(), splits.valid.digest(), splits.test.digest()}) == 3


def test_the_split_does_not_depend_on_batches_and_is_even() -> None:
    whole = part_of_rows(0, 100_000)
    pieces = np.concatenate([part_of_rows(first, 999) for first in range(0, 99_900, 999)])
    assert (whole[:99_900] == pieces).all()
    blocks = whole.reshape(-1, 10)
    assert ((blocks == 1).sum(1) == 1).all()
    assert ((blocks == 2).sum(1) == 1).all()
    for part in (1, 2):  # every place of a block is drawn about equally often
        counts = (blocks == part).sum(0)
        assert counts.min() > 900
        assert counts.max() < 1100
    assert (part_of_rows(0, 1000, seed=1) != part_of_rows(0, 1000, seed=2)).any()


def test_folder(tmp_path: Path) -> None:
    csv_of(tmp_path / "train.csv", 20)
    parquet.write_table(pa.table({"x": [1], "click": [0]}), tmp_path / "valid.parquet")
    (tmp_path / "test.jsonl").write_text(json.dumps({"click": 1}) + "\n")
    splits = open_dataset(tmp_path, "click")
    assert [len(column(s, "click")) for s in (splits.train, splits.valid, splits.test)] == [20, 1, 1]
    assert column(splits.test, "x") == [None]
    assert splits.how.startswith("the files train.csv, valid.parquet, test.jsonl")


def test_folders_that_do_not_do(tmp_path: Path) -> None:
    csv_of(tmp_path / "train.csv", 20)
    with pytest.raises(DataError, match="no file for valid and test"):
        open_dataset(tmp_path)
    csv_of(tmp_path / "valid.csv", 5)
    csv_of(tmp_path / "test.csv", 5, header="other,click")
    with pytest.raises(DataError, match=r"test\.csv: columns of train\.csv are missing: x"):
        open_dataset(tmp_path)
    csv_of(tmp_path / "test.csv", 5)
    with pytest.raises(DataError, match=r"no column 'clik'\. Did you mean 'click'"):
        open_dataset(tmp_path, "clik")
    csv_of(tmp_path / "test.csv", 5, header="x,label")
    with pytest.raises(DataError):
        open_dataset(tmp_path, "click")
    (tmp_path / "train.jsonl").write_text('{"x": 1, "click": 0}\n')
    with pytest.raises(DataError, match="are both train"):
        open_dataset(tmp_path)


def test_too_few_rows_and_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="9 rows are too few"):
        open_dataset(csv_of(tmp_path / "a.csv", 9), "click")
    with pytest.raises(DataError, match="no such file or folder"):
        open_dataset(tmp_path / "nothing")
