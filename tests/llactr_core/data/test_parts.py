"""Hours, weekdays and elapsed days of every form that a moment may have."""

import datetime as dt

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llactr_core.data.parts import part_value, part_values
from llactr_core.errors import SchemaError
from llactr_core.schema import Field

HOUR = Field(name="h", source="t", part="hour")
WEEKDAY = Field(name="w", source="t", part="weekday")
ELAPSED = Field(name="e", source="t", part="elapsed_days")
MOMENT = dt.datetime(2001, 1, 10, 22, 33, 9, tzinfo=dt.UTC)  # a Wednesday
UNIX = int(MOMENT.timestamp())


@pytest.mark.parametrize(
    "value",
    [
        MOMENT,
        MOMENT.replace(tzinfo=None),
        MOMENT.astimezone(dt.timezone(dt.timedelta(hours=9))),
        UNIX,
        float(UNIX),
        UNIX * 10**3,
        UNIX * 10**6,
        UNIX * 10**9,
        str(UNIX),
        f"{UNIX}.25",
        "2001-01-10T22:33:09Z",
        "2001-01-10 22:33",
        "2001-01-11T07:33:09+09:00",
        np.datetime64("2001-01-10T22:33:09"),
        np.int64(UNIX),
    ],
    ids=repr,
)
def test_forms_of_one_moment(value: object) -> None:
    assert part_value(HOUR, value) == "22"
    assert part_value(WEEKDAY, value) == "Wednesday"
    assert part_value(ELAPSED, value) == str(UNIX // 86_400)


@pytest.mark.parametrize("value", [dt.date(2020, 1, 1), "2020-01-01", 20200101, "20200101"])
def test_a_date_is_midnight(value: object) -> None:
    assert [part_value(f, value) for f in (HOUR, WEEKDAY, ELAPSED)] == ["0", "Wednesday", "18262"]


@pytest.mark.parametrize(
    "value", [None, "", "soon", True, float("nan"), float("inf"), 2**63, "21/10/2014", [], np.datetime64("NaT")]
)
def test_no_moment_is_missing(value: object) -> None:
    assert part_value(HOUR, value) is None


def test_before_1970() -> None:
    assert [part_value(f, -1) for f in (HOUR, WEEKDAY, ELAPSED)] == ["23", "Wednesday", "-1"]


@pytest.mark.parametrize(
    "array",
    [
        pa.array([MOMENT, None], pa.timestamp("s", "UTC")),
        pa.array([MOMENT, None], pa.timestamp("ns", "Asia/Tokyo")),
        pa.array([MOMENT.replace(tzinfo=None), None], pa.timestamp("ms")),
        pa.array([UNIX, None]),
        pa.array([UNIX, None], pa.uint64()),
        pa.array([UNIX, None], pa.int32()),
        pa.array([float(UNIX), float("nan")]),
        pa.array([str(UNIX), "soon"]),
        pa.array(["2001-01-10T22:33:09Z", ""], pa.large_string()),
        pa.array(["2001-01-10T22:33:09Z", None]).dictionary_encode(),
        pa.chunked_array([[UNIX], [None]], pa.int64()),
    ],
    ids=lambda array: str(array.type),
)
def test_columns(array: pa.Array) -> None:
    assert part_values(HOUR, array).to_pylist() == ["22", None]
    assert part_values(WEEKDAY, array).to_pylist() == ["Wednesday", None]


def test_columns_without_a_time() -> None:
    assert part_values(HOUR, pa.array([dt.date(2020, 1, 1), None])).to_pylist() == ["0", None]
    assert part_values(WEEKDAY, pa.array([dt.date(2020, 1, 1)], pa.date64())).to_pylist() == ["Wednesday"]
    for array in (pa.nulls(1), pa.array([True]), pa.array([[1]])):
        assert part_values(HOUR, array).to_pylist() == [None]


@given(st.lists(st.none() | st.integers(-(2**63), 2**63 - 1) | st.integers(19000101, 21001231), max_size=20))
def test_columns_agree_with_values(values: list[int | None]) -> None:
    for field in (HOUR, WEEKDAY, ELAPSED):
        expected = [part_value(field, v) for v in values]
        assert part_values(field, pa.array(values, pa.int64())).to_pylist() == expected
        texts = pa.array([None if v is None else str(v) for v in values], pa.string())
        assert part_values(field, texts).to_pylist() == expected


def test_only_parts() -> None:
    with pytest.raises(SchemaError, match="no part"):
        part_value(Field(name="x"), 1)
