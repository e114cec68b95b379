"""Labels are 0 or 1, and both occur."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from llactr_core.data.labels import label_values, read_labels
from llactr_core.data.read import open_source
from llactr_core.errors import DataError


@pytest.mark.parametrize(
    "array",
    [
        pa.array([0, 1, 1], pa.int8()),
        pa.array([0.0, 1.0, 1.0], pa.float32()),
        pa.array([False, True, True]),
        pa.array(["0", "1", "1"]),
        pa.array(["0.0", "1.0", "1.0"]),
        pa.array(["false", "true", "true"], pa.large_string()),
        pa.array(["False", "True", "TRUE"]).dictionary_encode(),
    ],
    ids=lambda array: str(array.type),
)
def test_accepted(array: pa.Array) -> None:
    labels = label_values(array, "click")
    assert labels.dtype == np.float32
    assert labels.tolist() == [0.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("values", "row", "said"),
    [
        ([0, 1, 2, 3], 13, "row 13 has '2'; values found: '0', '1', '2', '3'"),
        ([0.0, 0.5], 12, "row 12 has '0.5'"),
        (["yes", "no"], 11, "values found: 'yes', 'no'"),
        ([0, None, 1], 12, "no label in row 12"),
        ([1.0, float("nan")], 12, "no label in row 12"),
        ([5, 6, 7, 8, 9, 10], 11, "'5', '6', '7', '8', '9', ..."),
    ],
)
def test_refused(values: list[object], row: int, said: str) -> None:
    with pytest.raises(DataError) as caught:
        label_values(pa.array(values), "click", first_row=11)
    assert said in str(caught.value)
    assert (caught.value.row, caught.value.field) == (row, "click")


def test_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("x,click\n" + "a,0\n" * 70_000 + "b,1\n")
    labels = read_labels(open_source(path), "click")
    assert labels.shape == (70_001,)
    assert labels.sum() == 1
    path.write_text("x,click\n" + "a,0\n" * 70_000 + "b,maybe\n")
    with pytest.raises(DataError, match="row 70001 has 'maybe'"):
        read_labels(open_source(path), "click")


@pytest.mark.parametrize("only", [0, 1])
def test_one_class_only(tmp_path: Path, only: int) -> None:
    parquet.write_table(pa.table({"click": [only] * 12}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=f"all 12 rows have the label {only}"):
        read_labels(open_source(tmp_path / "a.parquet"), "click")


def test_missing_column(tmp_path: Path) -> None:
    parquet.write_table(pa.table({"clicked": [0, 1], "x": [1, 2]}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"no column 'click'\. Did you mean 'clicked'\? Columns: clicked, x"):
        read_labels(open_source(tmp_path / "a.parquet"), "click")
