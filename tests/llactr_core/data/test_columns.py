"""Columns of every Arrow type: encoded as the same rows are, or refused with the field's name."""

import numpy as np
import pyarrow as pa
import pytest

from llactr_core.data.encoding import Encoder
from llactr_core.errors import DataError, RowError
from llactr_core.schema import Field, Kind, Schema

CATEGORICAL = Field(name="x")
NUMERIC = Field(name="x", kind=Kind.NUMERIC, buckets=4)
MULTI = Field(name="x", kind=Kind.MULTI_VALUED, max_values=3)
HOUR = Field(name="x_hour", source="x", part="hour")
DAYS = Field(name="x_days", source="x", part="elapsed_days", kind=Kind.NUMERIC, buckets=4)
EVERY = [CATEGORICAL, NUMERIC, MULTI, HOUR, DAYS]
LISTS = {
    "list": pa.list_(pa.int64()),
    "large_list": pa.large_list(pa.int64()),
    "fixed_size_list": pa.list_(pa.int64(), 2),
    "list_view": pa.list_view(pa.int64()),
}


def encoder_of(field: Field, column: pa.Array | None = None) -> Encoder:
    table = pa.table({"x": ["1", "2"] if column is None else column})
    return Encoder.fit(Schema(name="s", fields=(field,)), table.to_batches())


@pytest.mark.parametrize("field", EVERY, ids=lambda f: f"{f.kind}-{f.part}")
@pytest.mark.parametrize(
    "column",
    [
        pa.array(["1", "x", None], pa.string_view()),
        pa.RunEndEncodedArray.from_arrays([2, 3], ["1", "x"]),
        pa.array([b"0123456789abcdef", b"fedcba9876543210", None], pa.uuid()),
        pa.DictionaryArray.from_arrays(pa.array([0, 1, None]), pa.array(["1", None])),
        pa.array([1, None, 3], pa.decimal128(38, 0)),
    ],
    ids=lambda c: str(c.type),
)
def test_unusual_types_encode_as_their_rows(field: Field, column: pa.Array) -> None:
    encoder = encoder_of(field, column)
    by_arrow = encoder.encode_batch(pa.table({"x": column}))
    by_rows = encoder.encode_rows([{"x": value} for value in column.to_pylist()])
    np.testing.assert_array_equal(by_arrow.ids, by_rows.ids)


@pytest.mark.parametrize("field", EVERY, ids=lambda f: f"{f.kind}-{f.part}")
@pytest.mark.parametrize("kind", [pa.timestamp("ns"), pa.duration("ns")], ids=str)
def test_nanoseconds_are_read(field: Field, kind: pa.DataType) -> None:
    column = pa.array([1577934245000000001, None], kind)
    assert len(encoder_of(field, column).encode_batch(pa.table({"x": column}))) == 2


@pytest.mark.parametrize("name", LISTS)
def test_every_kind_of_list_encodes_as_its_rows(name: str) -> None:
    column = pa.array([[1, 2], [3, 4], None], LISTS[name])
    encoder = encoder_of(MULTI, column)
    by_rows = encoder.encode_rows([{"x": value} for value in column.to_pylist()])
    np.testing.assert_array_equal(encoder.encode_batch(pa.table({"x": column})).ids, by_rows.ids)
    np.testing.assert_array_equal(encoder.encode_rows([{"x": np.array([1, 2])}]).ids, by_rows.ids[:1])


@pytest.mark.parametrize("field", [f for f in EVERY if f.kind != Kind.MULTI_VALUED], ids=lambda f: f"{f.kind}-{f.part}")
@pytest.mark.parametrize("name", LISTS)
def test_lists_under_a_field_of_single_values_are_named(field: Field, name: str) -> None:
    column = pa.array([None, [1, 2]], LISTS[name])
    _refused(field, column, row=1)
    nothing = encoder_of(field).encode_batch(pa.table({"x": column.slice(0, 1)}))
    np.testing.assert_array_equal(nothing.ids, encoder_of(field).encode_rows([{"x": None}]).ids)


def _refused(field: Field, column: pa.Array, row: int) -> None:
    encoder, table = encoder_of(field), pa.table({"x": column})
    for encode in (lambda: encoder.encode_batch(table), lambda: encoder.encode_rows(table.to_pylist())):
        with pytest.raises(RowError) as error:
            encode()
        assert (error.value.row, error.value.field) == (row, "x")
    with pytest.raises(DataError) as at_fit:
        encoder_of(field, column)
    assert at_fit.value.field == "x"


@pytest.mark.parametrize("field", EVERY, ids=lambda f: f"{f.kind}-{f.part}")
def test_objects_and_lists_of_lists_are_named(field: Field) -> None:
    _refused(field, pa.array([{"a": 1}]), row=0)
    _refused(field, pa.array([[[1]]]), row=0)


@pytest.mark.parametrize("field", EVERY, ids=lambda f: f"{f.kind}-{f.part}")
def test_text_that_is_not_utf8_is_named(field: Field) -> None:
    column = pa.array([b"1", b"\xff"]).view(pa.string())
    with pytest.raises(RowError) as error:
        encoder_of(field).encode_batch(pa.table({"x": column}))
    assert error.value.field == "x"
    with pytest.raises(DataError, match="cannot be read"):
        encoder_of(field, column)


def test_a_column_twice_is_named() -> None:
    twice = pa.table([pa.array([1]), pa.array([2])], names=["x", "x"])
    with pytest.raises(RowError, match="2 times") as error:
        encoder_of(CATEGORICAL).encode_batch(twice)
    assert error.value.field == "x"


@pytest.mark.parametrize("value", [{1}, object(), b"\xff", np.array([1, 2])], ids=lambda value: type(value).__name__)
def test_values_that_are_not_plain_are_named(value: object) -> None:
    with pytest.raises(RowError) as error:
        encoder_of(CATEGORICAL).encode_rows([{"x": 1}, {"x": value}])
    assert (error.value.row, error.value.field) == (1, "x")


@pytest.mark.parametrize("field", EVERY, ids=lambda f: f"{f.kind}-{f.part}")
@pytest.mark.parametrize("values", [[1, 2**53 + 1], [0.5, np.nan], ["1", "x"], [True, False]], ids=str)
def test_numpy_columns_encode_as_lists(field: Field, values: list[object]) -> None:
    encoder = encoder_of(field)
    by_array, by_list = (encoder.encode_columns({"x": column}) for column in (np.array(values), values))
    np.testing.assert_array_equal(by_array.ids, by_list.ids)
    with pytest.raises(RowError):
        encoder.encode_columns({"x": np.array(1)})


def test_the_largest_numbers_have_finite_weights() -> None:
    encoder = encoder_of(NUMERIC, pa.array([-1.7e308, 0.0, 1.7e308]))
    weights = encoder.encode_rows([{"x": 1e308}, {"x": -1.7e308}]).weights
    assert weights is not None
    np.testing.assert_allclose(weights.sum(axis=1), 1)
