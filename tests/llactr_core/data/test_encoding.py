import json
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llactr_core.data.encoding import Encoder
from llactr_core.data.values.json_rows import JsonReader
from llactr_core.data.vocabulary import FIRST_VALUE, MISSING, UNSEEN, ValueCounter
from llactr_core.errors import BundleError, DataError, RowError
from llactr_core.schema import Field, Kind, Schema

SCHEMA = Schema(
    name="s",
    fields=(
        Field(name="user", min_count=2),
        Field(name="price", kind=Kind.NUMERIC, buckets=5),
        Field(name="tags", kind=Kind.MULTI_VALUED, max_values=3),
        Field(name="when_hour", source="when", part="hour"),
    ),
)
ROWS: list[dict[str, object]] = [
    {"user": 1, "price": 0.0, "tags": "a|b", "when": 978300760},
    {"user": 1, "price": 10.0, "tags": "a", "when": 978300760},
    {"user": 2, "price": 20.0, "tags": "c|a|b|d", "when": 978307360},
    {"user": 2, "price": 30.0, "tags": "", "when": None},
    {"user": 3, "price": 40.0, "tags": None, "when": 978307360},
]


def table(rows: list[dict[str, object]]) -> pa.Table:
    return pa.Table.from_pylist(rows)


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder.fit(SCHEMA, table(ROWS).to_batches(max_chunksize=2))


def local(encoder: Encoder, row: dict[str, object], name: str) -> tuple[list[int], list[float]]:
    field = SCHEMA.names.index(name)
    encoded = encoder.encode_rows([row])
    assert encoded.weights is not None
    slots = encoder.slot_field == field
    return (encoded.ids[0, slots] - encoder.offsets[field]).tolist(), encoded.weights[0, slots].tolist()


def test_rows_columns_and_arrow_encode_alike(encoder: Encoder) -> None:
    by_rows = encoder.encode_rows(ROWS)
    by_columns = encoder.encode_columns({c: [row[c] for row in ROWS] for c in ROWS[0]})
    by_arrow = encoder.encode_batch(table(ROWS))
    as_text = encoder.encode_rows([{k: None if v is None else str(v) for k, v in row.items()} for row in ROWS])
    for other in (by_columns, by_arrow, as_text):
        np.testing.assert_array_equal(by_rows.ids, other.ids)
        np.testing.assert_array_equal(by_rows.weights, other.weights)


VALUES = (
    st.sampled_from(
        [
            None,
            True,
            False,
            0,
            1,
            2,
            3,
            -1,
            0.5,
            1.0,
            2.50,
            17.25,
            978300760,
            10**17,
            "",
            "1",
            "2",
            "3.0",
            "a|b",
            "a",
            "d|c",
        ]
    )
    | st.integers(-(10**17), 10**17)
    | st.floats(-1e9, 1e9)
    | st.text(alphabet="abc|12.-_ é", max_size=12)
)


@settings(deadline=None, max_examples=300)
@given(rows=st.lists(st.dictionaries(st.sampled_from(SCHEMA.columns), VALUES), max_size=4))
def test_cells_of_json_encode_as_the_objects_do(encoder: Encoder, rows: list[dict[str, object]]) -> None:
    body = json.dumps({"rows": rows}, ensure_ascii=False).encode()
    plain = JsonReader(SCHEMA.columns).rows(body, 10)
    if plain is not None:  # exponents and the like are not plain
        found, expected = encoder.encode_cells(plain.cells), encoder.encode_rows(json.loads(body)["rows"])
        np.testing.assert_array_equal(found.ids, expected.ids)
        np.testing.assert_array_equal(found.weights, expected.weights)


def test_texts_beyond_256_bytes_are_looked_up_by_their_canonical_form() -> None:
    texts = ["x" * 300, "é" * 200, "é" * 256, "é" * 257]
    schema = Schema(name="s", fields=(Field(name="a"),))
    encoder = Encoder.fit(schema, [pa.record_batch({"a": texts})])
    expected = encoder.encode_rows([{"a": text} for text in texts]).ids
    assert len(set(expected[:, 0].tolist())) == 4
    found = JsonReader(["a"]).rows(json.dumps({"rows": [{"a": t} for t in texts]}, ensure_ascii=False).encode(), 4)
    assert found is not None
    np.testing.assert_array_equal(encoder.encode_cells(found.cells).ids, expected)
    np.testing.assert_array_equal(encoder.encode_batch(pa.record_batch({"a": texts})).ids, expected)


def test_every_field_has_its_own_ids(encoder: Encoder) -> None:
    ids = encoder.encode_rows(ROWS).ids
    for field, (start, size) in enumerate(zip(encoder.offsets, map(len, encoder.encoders), strict=True)):
        part = ids[:, encoder.slot_field == field]
        assert part.min() >= start
        assert part.max() < start + size


def test_frequent_values_come_first_and_rare_ones_share_the_unseen_id(encoder: Encoder) -> None:
    assert local(encoder, {"user": "1"}, "user") == ([FIRST_VALUE], [1.0])
    assert local(encoder, {"user": 2.0}, "user") == ([FIRST_VALUE + 1], [1.0])
    assert local(encoder, {"user": 3}, "user") == ([UNSEEN], [1.0])


@pytest.mark.parametrize("value", [None, "", float("nan"), float("inf")])
def test_no_value_is_missing(encoder: Encoder, value: object) -> None:
    assert local(encoder, {"user": value}, "user")[0] == [MISSING]
    assert local(encoder, {"price": value}, "price") == ([MISSING, 0], [1.0, 0.0])
    assert local(encoder, {}, "tags") == ([MISSING, 0, 0], [1.0, 0.0, 0.0])


def test_numbers_are_interpolated_between_knots(encoder: Encoder) -> None:
    assert local(encoder, {"price": 15}, "price") == ([FIRST_VALUE + 1, FIRST_VALUE + 2], [0.5, 0.5])
    assert local(encoder, {"price": "12.5"}, "price") == ([FIRST_VALUE + 1, FIRST_VALUE + 2], [0.75, 0.25])
    assert local(encoder, {"price": -5}, "price")[1] == [1.0, 0.0]
    assert local(encoder, {"price": 1e300}, "price") == ([FIRST_VALUE + 3, FIRST_VALUE + 4], [0.0, 1.0])
    assert local(encoder, {"price": "cheap"}, "price") == ([UNSEEN, 0], [1.0, 0.0])


def test_lists_are_averaged_and_cut(encoder: Encoder) -> None:
    ids, weights = local(encoder, {"tags": ["a", "b"]}, "tags")
    assert ids == [FIRST_VALUE, FIRST_VALUE + 1, 0]
    assert weights == [0.5, 0.5, 0.0]
    assert sum(local(encoder, {"tags": "a|b|c|d"}, "tags")[1]) == pytest.approx(1)
    assert local(encoder, {"tags": "new|a"}, "tags")[0] == [UNSEEN, FIRST_VALUE, 0]


def test_list_columns_encode_like_joined_texts(encoder: Encoder) -> None:
    lists = pa.table({"tags": pa.array([["a", "b"], [], None], pa.list_(pa.string()))})
    texts = pa.table({"tags": ["a|b", "", None]})
    np.testing.assert_array_equal(encoder.encode_batch(lists).ids, encoder.encode_batch(texts).ids)


def test_flags_tell_missing_and_unseen_fields(encoder: Encoder) -> None:
    missing, unseen = encoder.flags(encoder.encode_rows([{"user": 9, "price": 1, "tags": "a|new"}]))
    assert missing.tolist() == [[False, False, False, True]]
    assert unseen.tolist() == [[True, False, True, False]]


@pytest.mark.parametrize(
    ("row", "field"),
    [({"user": [1]}, "user"), ({"price": {"a": 1}}, "price"), ({"tags": [["a"]]}, "tags"), ({"user": {}}, "user")],
)
def test_nested_values_are_refused_by_row_and_field(encoder: Encoder, row: dict[str, object], field: str) -> None:
    with pytest.raises(RowError) as error:
        encoder.encode_rows([{}, row])
    assert (error.value.row, error.value.field) == (1, field)


def test_rows_that_are_no_objects_are_refused(encoder: Encoder) -> None:
    with pytest.raises(RowError, match="row 1 is 'list'") as error:
        encoder.encode_rows([{}, [1, 2]])  # type: ignore[list-item]
    assert error.value.row == 1


def test_columns_must_be_lists_of_one_length(encoder: Encoder) -> None:
    with pytest.raises(RowError, match=r"differ in length \(user: 1, price: 2\)"):
        encoder.encode_columns({"user": [1], "price": [1, 2]})
    with pytest.raises(RowError, match="no list"):
        encoder.encode_columns({"user": "abc"})


def test_no_rows_encode_to_no_rows(encoder: Encoder) -> None:
    assert encoder.encode_rows([]).ids.shape == (0, len(encoder.slot_field))
    assert encoder.encode_columns({}).ids.shape == (0, len(encoder.slot_field))
    assert encoder.encode_batch(table(ROWS).slice(0, 0)).ids.shape == (0, len(encoder.slot_field))


def test_saved_and_loaded_it_encodes_the_same(encoder: Encoder, tmp_path: Path) -> None:
    encoder.save(tmp_path)
    again = Encoder.load(SCHEMA, tmp_path)
    np.testing.assert_array_equal(encoder.encode_rows(ROWS).ids, again.encode_rows(ROWS).ids)
    np.testing.assert_array_equal(encoder.encode_rows(ROWS).weights, again.encode_rows(ROWS).weights)
    np.testing.assert_array_equal(encoder.counts, again.counts)


def test_a_damaged_encoding_is_refused(encoder: Encoder, tmp_path: Path) -> None:
    encoder.save(tmp_path)
    (tmp_path / "vocabulary.arrow").write_bytes(b"ARROW1\0\0 but not really")
    with pytest.raises(BundleError, match="cannot read the encoding"):
        Encoder.load(SCHEMA, tmp_path)


def test_fit_needs_rows_and_columns() -> None:
    with pytest.raises(DataError, match="no rows"):
        Encoder.fit(SCHEMA, [])
    with pytest.raises(DataError, match=r"lacks the column.*'price'"):
        Encoder.fit(SCHEMA, table([{"user": 1}]).to_batches())


def test_counting_forgets_only_rare_values_when_memory_is_short() -> None:
    counter = ValueCounter(limit=1000)
    for start in range(0, 300_000, 1000):
        values = ["often"] * 500 + [f"v{start + i}" for i in range(500)]
        counter.add(pa.array(values).dictionary_encode())
    vocabulary = counter.top(min_count=2, most=10)
    assert vocabulary.values.to_pylist() == ["often"]
    assert vocabulary.counts.tolist() == [150_000]
    assert counter.dropped > 0


def test_the_vocabulary_cap_keeps_the_most_frequent() -> None:
    schema = Schema(name="s", fields=(Field(name="a", max_vocabulary=2),))
    encoder = Encoder.fit(schema, table([{"a": v} for v in "xxxyyzw"]).to_batches())
    assert encoder.size == FIRST_VALUE + 2
    assert encoder.encode_rows([{"a": "y"}, {"a": "z"}]).ids.ravel().tolist() == [FIRST_VALUE + 1, UNSEEN]


MANY = """
import resource, sys
import numpy as np, pyarrow as pa
from llactr_core.data.encoding import Encoder
from llactr_core.schema import Field, Schema

def batches():
    for start in range(0, int(sys.argv[1]), 65536):
        ids = np.arange(start, min(start + 65536, int(sys.argv[1])))
        yield pa.record_batch({"id": pa.array(ids), "one": pa.array(["same"] * len(ids))})

schema = Schema(name="s", fields=(Field(name="id", max_vocabulary=100_000), Field(name="one")))
print(Encoder.fit(schema, batches()).size, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.parametrize("count", [2_000_000, pytest.param(10_000_000, marks=pytest.mark.long)])
def test_millions_of_values_are_fitted_in_bounded_memory_and_capped(count: int) -> None:
    said = subprocess.check_output([sys.executable, "-c", MANY, str(count)], text=True).split()
    assert int(said[0]) == FIRST_VALUE + 100_000 + FIRST_VALUE + 1
    assert int(said[1]) < 2_500_000, "kilobytes at the peak"


def test_values_of_ten_thousand_characters_are_told_apart() -> None:
    long, longer = "x" * 10_000, "x" * 10_001
    schema = Schema(name="s", fields=(Field(name="a"),))
    encoder = Encoder.fit(schema, table([{"a": long}, {"a": longer}]).to_batches())
    ids = encoder.encode_rows([{"a": long}, {"a": longer}, {"a": "x" * 10_002}]).ids.ravel().tolist()
    assert sorted(ids[:2]) == [FIRST_VALUE, FIRST_VALUE + 1]
    assert ids[2] == UNSEEN
    assert max(len(value) for value in encoder.encoders[0].vocabulary.values.to_pylist()) <= 256


def test_a_text_of_millions_of_values_is_not_taken_apart_as_a_whole() -> None:
    field = Field(name="tags", kind=Kind.MULTI_VALUED, max_values=3)
    encoder = Encoder.fit(Schema(name="s", fields=(field,)), table([{"tags": "a|b|c|d"}]).to_batches())
    rows = [{"tags": "|a||b|" + "x|" * 5_000_000}]
    tracemalloc.start()
    ids = encoder.encode_rows(rows).ids
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (ids == encoder.encode_rows([{"tags": ["a", "b", "x"]}]).ids).all()
    assert peak < 1_000_000
