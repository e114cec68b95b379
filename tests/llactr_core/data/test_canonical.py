"""One form of a value, whatever file or call it comes from."""

import datetime as dt
import decimal
import json
import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llactr_core.data.canonical import canonical, canonical_array
from llactr_core.errors import DataError


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        ("", None),
        (math.nan, None),
        (math.inf, None),
        (-math.inf, None),
        (True, "true"),
        (False, "false"),
        (3, "3"),
        (3.0, "3"),
        (-0.0, "0"),
        (0.5, "0.5"),
        (0.1, "0.1"),
        (2**70, "1180591620717411303424"),
        ("3.0", "3.0"),
        (" x ", " x "),
        ("x" * 256, "x" * 256),
        (np.float32(0.1), "0.1"),
        (np.float64(3.0), "3"),
        (np.float64(0.1), "0.1"),
        (np.int8(-3), "-3"),
        (np.bool_(True), "true"),
        (np.str_("a"), "a"),
        (np.datetime64("2020-01-02T03:04:05", "ns"), "2020-01-02T03:04:05"),
        (np.datetime64("NaT"), None),
        (b"abc", "abc"),
        (decimal.Decimal("0.50"), "0.5"),
        (decimal.Decimal("3.00"), "3"),
        (decimal.Decimal("NaN"), None),
        (decimal.Decimal("0.12345678901234567890"), "0.1234567890123456789"),
        (dt.date(2020, 1, 2), "2020-01-02"),
        (dt.datetime(2020, 1, 2, 3, tzinfo=dt.timezone(dt.timedelta(hours=2))), "2020-01-02T01:00:00+00:00"),
    ],
)
def test_canonical(value: object, expected: str | None) -> None:
    assert canonical(value) == expected


def test_long_text_is_shortened_and_stays_distinct() -> None:
    one, other = canonical("x" * 10_000), canonical("x" * 9_999 + "y")
    assert one is not None
    assert len(one) == 200 + 1 + 32
    assert one.startswith("x" * 200 + "#")
    assert one != other


@pytest.mark.parametrize("value", [[1], {"a": 1}, (1,), {1}, object(), b"\xff"])
def test_canonical_refuses(value: object) -> None:
    with pytest.raises(DataError):
        canonical(value)


scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats() | st.text(max_size=300)


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (pa.string(), st.none() | st.text(max_size=300)),
        (pa.large_string(), st.none() | st.text(max_size=300)),
        (pa.binary(), st.none() | st.text(max_size=20).map(str.encode)),
        (pa.int64(), st.none() | st.integers(-(2**63), 2**63 - 1)),
        (pa.float64(), st.none() | st.floats()),
        (pa.bool_(), st.none() | st.booleans()),
        (pa.date32(), st.none() | st.dates()),
        (pa.timestamp("us"), st.none() | st.datetimes()),
        (pa.timestamp("us", "UTC"), st.none() | st.datetimes(timezones=st.just(dt.UTC))),
    ],
    ids=str,
)
def test_arrays_agree_with_values(kind: pa.DataType, values: st.SearchStrategy[object]) -> None:
    @given(st.lists(values, max_size=12))
    def check(items: list[object]) -> None:
        plain = pa.array(items, kind)
        for array in (plain, plain.dictionary_encode()):
            result = canonical_array(array)
            result.validate(full=True)
            assert result.type == pa.dictionary(pa.int32(), pa.string())
            assert result.to_pylist() == [canonical(item) for item in items]
            assert result.dictionary.null_count == 0
            assert len(set(result.dictionary.to_pylist())) == len(result.dictionary)

    check()


def test_float32_takes_its_own_shortest_form() -> None:
    array = pa.array([0.1, 16777216.0, None, math.nan, 1e20], pa.float32())
    assert canonical_array(array).to_pylist() == ["0.1", "16777216", None, None, "1e+20"]


@given(scalars)
def test_json_parquet_and_python_agree(value: object) -> None:
    through_json = json.loads(json.dumps(value))
    assert canonical(through_json) == canonical(value)
    assert canonical_array(pa.array([value])).to_pylist() == [canonical(value)]


@pytest.mark.parametrize("kind", [pa.null(), pa.string_view(), pa.decimal128(9, 2), pa.float16(), pa.timestamp("ns")])
def test_unusual_types(kind: pa.DataType) -> None:
    array = pa.nulls(3, kind)
    assert canonical_array(array).to_pylist() == [None, None, None]
    assert canonical_array(pa.nulls(0, kind)).to_pylist() == []


def test_nested_and_non_utf8_columns_are_refused() -> None:
    with pytest.raises(DataError, match="nested"):
        canonical_array(pa.array([[1]]))
    with pytest.raises(DataError, match="UTF-8"):
        canonical_array(pa.array([b"ok", b"\xff\xfe"]))
    broken = pa.StringArray.from_buffers(1, pa.array([0, 2], pa.int32()).buffers()[1], pa.py_buffer(b"\xff\xfe"))
    with pytest.raises(DataError, match="UTF-8"):
        canonical_array(broken)


def test_long_decimals_stay_distinct_and_equal_to_the_integer() -> None:
    number = 12345678901234567890123456789012345678
    assert canonical(decimal.Decimal(number)) == canonical(number)
    assert canonical(decimal.Decimal(number)) != canonical(decimal.Decimal(number - 1))
    assert canonical(decimal.Decimal("12345678901234567890123456789.500")) == "12345678901234567890123456789.5"
    assert canonical(decimal.Decimal("1E+30")) == str(10**30)
