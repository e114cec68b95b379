import random
from collections.abc import Iterator
from datetime import UTC, datetime

import psutil
import pyarrow as pa
import pytest

from llactr_core.errors import SchemaError
from llactr_core.schema import Field, Kind, Schema
from llactr_core.semantics.sampling import clean_samples, draw_samples

SCHEMA = Schema(name="s", fields=(Field(name="id"), Field(name="tags", kind=Kind.MULTI_VALUED)))


def _batches(rows: list[tuple[int, str]], size: int) -> list[pa.RecordBatch]:
    parts = [rows[i : i + size] for i in range(0, len(rows), size)]
    return [pa.record_batch({"id": [r[0] for r in p], "tags": [r[1] for r in p]}) for p in parts]


def test_the_sample_does_not_depend_on_the_order_of_rows_or_batches():
    rows = [(i % 700, f"t{i % 90}|t{i % 13}") for i in range(2000)]
    first = draw_samples(SCHEMA, _batches(rows, 2000), 50, seed=3)
    random.Random(0).shuffle(rows)
    assert draw_samples(SCHEMA, _batches(rows, 77), 50, seed=3) == first
    assert {name: len(values) for name, values in first.items()} == {"id": 50, "tags": 50}
    assert draw_samples(SCHEMA, _batches(rows, 77), 50, seed=4) != first


def test_the_sample_is_spread_over_the_values():
    rows = [(i, "t") for i in range(10_000)]
    drawn = [int(value) for value in draw_samples(SCHEMA, _batches(rows, 1000), 400, seed=0)["id"]]
    assert abs(sum(drawn) / 400 - 5000) < 600  # 4 standard errors of a uniform mean


def test_a_million_rows_are_read_in_the_memory_of_a_few_batches():
    process, held = psutil.Process(), []

    def batches() -> Iterator[pa.RecordBatch]:
        for first in range(0, 1_000_000, 10_000):
            held.append(process.memory_info().rss)
            yield pa.record_batch({"id": pa.array(range(first, first + 10_000)), "tags": ["a|b"] * 10_000})

    drawn = draw_samples(SCHEMA, batches(), 200, 0)
    assert {name: len(values) for name, values in drawn.items()} == {"id": 200, "tags": 2}
    # After ten batches all is warm; the remaining 900,000 values as text would take more than 50 MB.
    assert max(held[10:]) - held[10] < 20e6


def test_few_values_are_all_taken_and_lists_are_taken_apart():
    batch = pa.record_batch({"id": [1, None, 1], "tags": ["a|b", "", "b| c|"]})
    assert draw_samples(SCHEMA, [batch], 10, 0) == {"id": ["1"], "tags": ["a", "b", "c"]}


def test_items_of_a_list_are_whole_values_as_in_encoding():
    batch = pa.record_batch({"id": [1, 2], "tags": [["a|b", " c "], None]})
    assert draw_samples(SCHEMA, [batch], 10, 0)["tags"] == ["a|b", "c"]


def test_list_columns_dictionaries_and_narrow_floats():
    schema = Schema(name="s", fields=(Field(name="tags", kind=Kind.MULTI_VALUED), Field(name="d"), Field(name="f")))
    batch = pa.record_batch(
        {
            "tags": pa.array([["x", "y"], None, ["y"]]),
            "d": pa.array(["p", "q", "p"]).dictionary_encode(),
            "f": pa.array([0.1, float("nan"), 3.0], pa.float32()),
        }
    )
    assert draw_samples(schema, [batch], 10, 0) == {"tags": ["x", "y"], "d": ["p", "q"], "f": ["0.1", "3"]}


def test_parts_of_a_time_are_sampled_as_parts():
    schema = Schema(
        name="s",
        fields=(Field(name="h", source="at", part="hour"), Field(name="w", source="at", part="weekday")),
    )
    batch = pa.record_batch({"at": pa.array([datetime(2026, 11, 22, 18, tzinfo=UTC)])})
    assert draw_samples(schema, [batch], 10, 0) == {"h": ["18"], "w": ["Sunday"]}


def test_a_missing_column_is_named():
    with pytest.raises(SchemaError, match="no column 'tags'") as caught:
        draw_samples(SCHEMA, [pa.record_batch({"id": [1]})], 10, 0)
    assert caught.value.field == "tags"


def test_given_samples_are_brought_into_the_same_form():
    assert clean_samples(SCHEMA, {"id": ["2", "1", "2", ""]}, 10, 0) == {"id": ["1", "2"], "tags": []}
    many = [str(i) for i in range(100)]
    cut = clean_samples(SCHEMA, {"id": many}, 5, 0)["id"]
    assert cut == clean_samples(SCHEMA, {"id": many[::-1]}, 5, 0)["id"]
    assert cut == draw_samples(SCHEMA, _batches([(i, "") for i in range(100)], 9), 5, 0)["id"]


def test_samples_of_an_unknown_field_are_refused():
    with pytest.raises(SchemaError, match="does not have; its fields: id, tags"):
        clean_samples(SCHEMA, {"price": ["1"]}, 5, 0)
