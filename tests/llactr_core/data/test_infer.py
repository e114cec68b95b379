"""What a person who knows the data would choose, the inference chooses."""

import datetime as dt
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest
from pyarrow import parquet

from llactr_core.data.infer import Inference, infer_schema
from llactr_core.data.read import open_source
from llactr_core.datasets import sample_dataset
from llactr_core.errors import DataError
from llactr_core.schema import Field, Kind, Schema

N = 600
RANDOM = np.random.default_rng(7)
START = 1_600_000_000


def inferred(tmp_path: Path, columns: dict[str, object], label: str | None = None, csv: bool = False) -> Inference:
    table = pa.table(columns)
    path = tmp_path / ("a.csv" if csv else "a.parquet")
    if csv:
        pyarrow.csv.write_csv(table, path)
    else:
        parquet.write_table(table, path)
    return infer_schema(open_source(path), label, "a set of rows")


def fields(inference: Inference, column: str) -> list[Field]:
    return [field for field in inference.schema.fields if field.column == column]


def one(tmp_path: Path, name: str, values: Sequence[object], csv: bool = False) -> tuple[Field, str]:
    found = inferred(tmp_path, {name: values, "other": [i % 2 for i in range(len(values))]}, csv=csv)
    (field,) = fields(found, name)
    return field, found.reasons[name]


INTEGERS = RANDOM.integers(0, 400, N)
TEXT = (Kind.CATEGORICAL, 1, "text")
CASES = {
    "an id by its name": ("UserID", INTEGERS, Kind.CATEGORICAL, 2, "identifies"),
    "an id by its name, lower case": ("movieid", INTEGERS, Kind.CATEGORICAL, 2, "identifies"),
    "text ids": ("visitor", [f"u{i % 400}x" for i in range(N)], Kind.CATEGORICAL, 1, "text"),
    "long numbers": ("thing", 7 * 10**12 + INTEGERS, Kind.CATEGORICAL, 2, "too long"),
    "an anonymous code": ("C14", INTEGERS, Kind.CATEGORICAL, 2, "code"),
    "an anonymous count": ("I3", INTEGERS, Kind.NUMERIC, 1, "quantity"),
    "few whole numbers": ("level", INTEGERS % 7, Kind.CATEGORICAL, 1, "only 7"),
    "a quantity": ("age", INTEGERS, Kind.NUMERIC, 1, "quantity"),
    "whole numbers stored as floats": ("level", (INTEGERS % 7).astype(float), Kind.CATEGORICAL, 1, "only 7"),
    "decimal numbers": ("price", RANDOM.normal(size=N), Kind.NUMERIC, 1, "decimal"),
    "decimal numbers with gaps": ("price", ["?", *[f"{i}.5" for i in range(N - 1)]], Kind.NUMERIC, 1, "decimal"),
    "codes with leading zeros": ("region", [f"{i % 50:05}" for i in range(N)], Kind.CATEGORICAL, 1, "text"),
    "flags": ("flag", INTEGERS % 2 == 0, Kind.CATEGORICAL, 1, "true or false"),
    "lists joined by bars": ("tags", ["a|b", "b|c", "a", "c|a|b"] * 150, Kind.MULTI_VALUED, 1, "joined by '|'"),
    "lists joined by commas": ("tags", ["a, b", "b, c", "a", "c, a, b"] * 150, Kind.MULTI_VALUED, 1, "joined by ','"),
    "lists": ("tags", [["a", "b"], ["c"], [], None] * 150, Kind.MULTI_VALUED, 1, "holds lists"),
    "titles with commas": ("title", [f"Film {i % 90}, The ({1950 + i % 60})" for i in range(N)], *TEXT),
    "places": ("place", [f"City {i % 300}, {['NY', 'CA', 'TX'][i % 3]}" for i in range(N)], *TEXT),
    "long text": ("x", [f"the {i % 300} quick foxes jump over it" for i in range(N)], Kind.CATEGORICAL, 2, "long text"),
    "one value or none": ("seen", ["yes", None] * 300, Kind.CATEGORICAL, 1, "1 different"),
}


@pytest.mark.parametrize(
    ("case", "csv"),
    [(c, csv) for c in CASES for csv in (False, True) if not csv or c != "lists"],  # CSV has no lists
)
def test_single_fields(tmp_path: Path, case: str, csv: bool) -> None:
    name, values, kind, min_count, said = CASES[case]
    field, reason = one(tmp_path, name, values, csv)
    assert (field.name, field.kind, field.min_count) == (name, kind, min_count)
    assert said in reason or (csv and case == "flags")


def test_separators(tmp_path: Path) -> None:
    for case, separator in (("lists joined by bars", "|"), ("lists joined by commas", ",")):
        assert one(tmp_path, "tags", CASES[case][1])[0].separator == separator


SECONDS = START + np.sort(RANDOM.integers(0, 10_000_000, N))
MOMENTS = {
    "timestamps": ("seen", pa.array(SECONDS, pa.timestamp("s"))),
    "text": ("seen", [dt.datetime.fromtimestamp(int(s), dt.UTC).isoformat() for s in SECONDS]),
    "Unix seconds by name": ("timestamp", SECONDS[RANDOM.permutation(N)] // 10_000 * 10_000),
    "Unix milliseconds by their course": ("x", SECONDS * 1000),
}


@pytest.mark.parametrize("case", MOMENTS)
@pytest.mark.parametrize("csv", [False, True])
def test_moments_become_parts(tmp_path: Path, case: str, csv: bool) -> None:
    name, values = MOMENTS[case]
    found = inferred(tmp_path, {name: values, "other": ["a", "b"] * (N // 2)}, csv=csv)
    parts = fields(found, name)
    assert [(f.name, f.part, f.kind) for f in parts] == [
        (f"{name}_hour", "hour", Kind.CATEGORICAL),
        (f"{name}_weekday", "weekday", Kind.CATEGORICAL),
    ]
    assert "never comes again" in found.reasons[name]


def test_parts_that_do_not_vary(tmp_path: Path) -> None:
    days = pa.array([18_262 + i % 40 for i in range(N)], pa.int32()).cast(pa.date32())
    one_day = pa.array([START // 86_400] * (N - 1) + [None], pa.int32()).cast(pa.date32())
    found = inferred(tmp_path, {"day": days, "same": one_day, "day_weekday": ["a", "b"] * 300, "x": INTEGERS})
    assert [(f.name, f.part) for f in fields(found, "day")] == [("day_weekday_part", "weekday")]
    assert "same" in found.left_out


def test_left_out(tmp_path: Path) -> None:
    columns = {
        "constant": ["x"] * N,
        "nothing": pa.nulls(N, pa.string()),
        "index": range(N),
        "request_id": [f"r{i * 7919}" for i in range(N)],
        "day": [f"{i % 28 + 1}/10/2014" for i in range(N)],
        "click": INTEGERS % 2,
        "kept": ["a", "b"] * (N // 2),
    }
    found = inferred(tmp_path, columns, label="click")
    assert found.schema.names == ("kept",)
    assert found.schema.label == "click"
    assert list(found.left_out) == ["constant", "nothing", "index", "request_id", "day"]
    assert "'x'" in found.left_out["constant"]
    assert "without a value" in found.left_out["nothing"]
    assert "running number" in found.left_out["index"]
    assert "ISO-8601" in found.left_out["day"]
    assert "click" not in found.reasons


def test_group_name_and_yaml(tmp_path: Path) -> None:
    found = inferred(tmp_path, {"user_id": INTEGERS, "item_id": INTEGERS})
    assert found.schema.group == "user_id"
    assert found.schema.name == "a-set-of-rows"
    found.schema.save(tmp_path / "schema.yaml")
    assert Schema.load(tmp_path / "schema.yaml") == found.schema


def test_sample_rows_limits_what_is_read(tmp_path: Path) -> None:
    parquet.write_table(pa.table({"x": ["a", "b"] * 50 + [f"c{i}" for i in range(100)]}), tmp_path / "a.parquet")
    found = infer_schema(open_source(tmp_path / "a.parquet"), None, "a", sample_rows=100)
    assert "2 different" in found.reasons["x"]


def test_nothing_to_learn_from(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no column beside the label"):
        inferred(tmp_path, {"click": [0, 1]}, label="click")
    with pytest.raises(DataError, match=r"no column can become a field.*x: left out"):
        inferred(tmp_path, {"click": [0, 1], "x": [1, 1]}, label="click")
    with pytest.raises(DataError, match="Did you mean 'click'"):
        inferred(tmp_path, {"click": [0, 1], "x": [1, 1]}, label="Clik")


def test_more_columns_than_fields_are_possible(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="257 columns could become fields, and 256 are possible"):
        inferred(tmp_path, {f"x{number}": ["a", "b"] * 10 for number in range(257)})


def test_more_values_than_are_counted(tmp_path: Path) -> None:
    field, reason = one(tmp_path, "user_id", [f"u{i % 230_000}" for i in range(240_000)])
    assert field.min_count == 2
    assert "more than 200,000" in reason


def test_bank_sample() -> None:
    found = infer_schema(open_source(sample_dataset() / "train.parquet"), "label", "bank")
    numeric = {field.name for field in found.schema.fields if field.kind is Kind.NUMERIC}
    assert len(found.schema.fields) == 19
    assert found.left_out == {}
    assert numeric == {
        "age", "campaign", "emp_var_rate", "cons_price_idx", "cons_conf_idx", "euribor3m", "nr_employed",
    }  # fmt: skip
    curated = Schema.load(sample_dataset() / "schema.yaml")
    assert {f.name: f.kind for f in curated.fields} == {f.name: f.kind for f in found.schema.fields}
