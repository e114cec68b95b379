"""Arrow from strangers: what is sound is read, what would grow beyond its bounds is refused before it does."""

import io
import random
import tracemalloc
from typing import Any

import pyarrow as pa
import pytest

from llactr_core.errors import LlactrError, MalformedError, TooLargeError
from services.ctr.formats.arrow import read_table

MEBIBYTE = 2**20
LONG = "x" * 100_000


def stream(table: pa.Table, compression: str | None = None) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
        writer.write_table(table)
    return sink.getvalue()


def shared_views(count: int) -> pa.Array:
    """Views of one long text that all lie on the same bytes."""
    one = pa.array([LONG], pa.string_view())
    views = one.buffers()[1].to_pybytes() * count
    return pa.Array.from_buffers(pa.string_view(), count, [None, pa.py_buffer(views), *one.buffers()[2:]])


@pytest.mark.parametrize("compression", ["lz4", "zstd"])
def test_compressed_streams_are_read(compression: str) -> None:
    words = ["student", "retired", None] * 100
    table = pa.table(
        {"job": words, "age": range(300), "city": pa.array(words).dictionary_encode(), "tags": [["a"]] * 300}
    )
    assert read_table(stream(table, compression), 300, MEBIBYTE).equals(table)


@pytest.mark.parametrize("compression", ["lz4", "zstd"])
def test_a_compression_bomb_is_refused_before_it_is_inflated(compression: str) -> None:
    columns: dict[str, Any] = {"a": ["\0" * 30 * MEBIBYTE], "b": pa.array(["\0" * 30 * MEBIBYTE]).dictionary_encode()}
    for name, column in columns.items():
        body = stream(pa.table({name: column}), compression)
        assert len(body) < MEBIBYTE
        before = pa.total_allocated_bytes()
        with pytest.raises(TooLargeError, match="stands for"):
            read_table(body, 10, 8 * MEBIBYTE)
        assert pa.total_allocated_bytes() - before < MEBIBYTE


@pytest.mark.parametrize(
    "column",
    [
        shared_views(1000),
        pa.ListArray.from_arrays([0, 1000], shared_views(1000)),
        pa.RunEndEncodedArray.from_arrays(pa.array([1000], pa.int32()), pa.array([LONG])),
        pa.ListArray.from_arrays([0, 1000], pa.DictionaryArray.from_arrays(pa.array([0] * 1000, pa.int8()), [LONG])),
    ],
    ids=["views", "listed views", "run ends", "listed dictionary"],
)
def test_values_that_share_their_bytes_count_each_time(column: pa.Array) -> None:
    body = stream(pa.table({"a": column}))
    assert len(body) < MEBIBYTE
    with pytest.raises(TooLargeError, match="stands for 100,"):
        read_table(body, 1000, 64 * MEBIBYTE)


def lists_of(values: pa.Array, count: int) -> pa.Array:
    """One list of `count` values."""
    offsets = pa.array([0, count], pa.int32())
    return pa.ListArray.from_arrays(offsets, values)


@pytest.mark.parametrize("count", [10_000_000, 2**31 - 1])
def test_a_list_of_values_without_bytes_is_refused(count: int) -> None:
    bomb = stream(pa.table({"tags": lists_of(pa.nulls(count), count)}))
    assert len(bomb) < 1000
    with pytest.raises(TooLargeError):
        read_table(bomb, 10, 64 * MEBIBYTE)


def test_rows_that_share_a_long_text_count_each_time() -> None:
    shared = pa.DictionaryArray.from_arrays(pa.array([0] * 2000, pa.int16()), pa.array([LONG]))
    with pytest.raises(TooLargeError):
        read_table(stream(pa.table({"row_id": shared}), "lz4"), 2000, 64 * MEBIBYTE)


def test_many_columns_count_together() -> None:
    columns = {f"c{number}": lists_of(pa.nulls(1_000_000), 1_000_000) for number in range(20)}
    with pytest.raises(TooLargeError):
        read_table(stream(pa.table(columns)), 10, 64 * MEBIBYTE)


def test_views_and_dictionaries_of_ordinary_size_are_read() -> None:
    views = pa.array(["a", "a text that lies outside of its view", None] * 10, pa.string_view())
    table = pa.table({"v": views, "d": pa.array(["x"] * 30).dictionary_encode(), "n": pa.nulls(30)})
    assert read_table(stream(table), 30, MEBIBYTE)["v"].to_pylist() == views.to_pylist()


def test_a_hundred_thousand_columns_are_no_work() -> None:
    table = pa.table({f"c{number}": pa.nulls(0) for number in range(20_000)})
    assert read_table(stream(table), 1, 64 * MEBIBYTE).num_columns == 20_000


def test_broken_streams_are_refused_and_nothing_else_happens() -> None:
    words = ["student", "retired", None] * 20
    table = pa.table(
        {"job": words, "city": pa.array(words).dictionary_encode(), "tags": [["a", "b"]] * 60, "age": range(60)}
    )
    bodies = [stream(table), stream(table, "lz4"), stream(table, "zstd")]
    dice = random.Random(3)
    refused = 0
    tracemalloc.start()
    for turn in range(600):
        body = bytearray(bodies[turn % 3])
        for _ in range(dice.randint(1, 4)):
            body[dice.randrange(len(body))] = dice.randrange(256)
        try:
            read_table(bytes(body[: dice.randint(1, len(body))] if turn % 5 == 0 else body), 1000, MEBIBYTE)
        except LlactrError:
            refused += 1
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert refused > 200
    assert peak < 32 * MEBIBYTE


def test_a_claimed_length_beyond_the_stream_is_400() -> None:
    body = bytearray(stream(pa.table({"a": ["x" * 5000]}), "zstd"))
    place = body.rfind((5000).to_bytes(8, "little"))
    assert place > 0
    body[place : place + 8] = (2**62).to_bytes(8, "little")
    with pytest.raises(TooLargeError):
        read_table(bytes(body), 10, MEBIBYTE)
    body[place : place + 8] = (200).to_bytes(8, "little")
    with pytest.raises(MalformedError):
        read_table(bytes(body), 10, MEBIBYTE)
