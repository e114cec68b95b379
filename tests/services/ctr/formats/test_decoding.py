"""Bodies to rows: what is accepted, and which row and field an error names."""

import io

import pyarrow as pa
import pytest

from llactr_core.errors import (
    InputError,
    LlactrError,
    MalformedError,
    RowError,
    TooLargeError,
    UnsupportedMediaError,
)
from services.ctr.formats.decoding import ARROW, JSON, NDJSON, decode


def arrow(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def test_rows_keep_their_values() -> None:
    body = (
        b'{"rows": [{"a": 1, "b": 2.5, "c": null, "d": true, "e": "x", "f": ["p", 3, null]}, {}], "routing_key": "u"}'
    )
    batch = decode(body, "application/json; charset=UTF-8", 5)
    assert batch.features == [{"a": 1, "b": 2.5, "c": None, "d": True, "e": "x", "f": ["p", 3, None]}, {}]
    assert (batch.rows, batch.routing_key) == (2, "u")


def test_every_form_says_how_many_rows_it_has() -> None:
    assert decode(b'{"columns": {"a": [1, 2], "b": ["x", null]}}', None, 5).rows == 2
    assert decode(b'{"columns": {}}', JSON, 5).rows == 0
    assert decode(b'{"rows": []}', JSON, 5).rows == 0
    assert decode(b'{"a": 1}\n\n{"a": [1, "x"]}\r\n', NDJSON, 5).features == [{"a": 1}, {"a": [1, "x"]}]
    assert decode(b"", NDJSON, 5).rows == 0
    table = pa.table({"a": [1, 2, 3], "tags": [["x"], [], None]})
    decoded = decode(arrow(table), ARROW, 5)
    assert decoded.rows == 3
    assert decoded.features.equals(table)


@pytest.mark.parametrize(
    ("body", "media", "kind", "row", "field", "word"),
    [
        (b'{"rows": [{"a": 1}, 3]}', JSON, RowError, 1, None, "row 1 is a number"),
        (b'{"rows": [null]}', JSON, RowError, 0, None, "row 0 is null"),
        (b'{"rows": [{"a": 1}, {"ok": 1, "b": {"x": 1}}]}', JSON, RowError, 1, "b", "a nested object"),
        (b'{"rows": [{"a": [1, [2]]}]}', JSON, RowError, 0, "a", "a nested array"),
        (b'{"columns": {"a": [1, {"x": 2}]}}', JSON, RowError, 1, "a", "a nested object"),
        (b'{"columns": {"a": 5}}', JSON, RowError, None, "a", "a column is an array"),
        (b'{"columns": {"a": [1], "b": [1, 2]}}', JSON, RowError, 1, "b", "has 2 values"),
        (b'{"rows": {"a": 1}}', JSON, InputError, None, None, "must be"),
        (b'{"rows": [{"a": 1e400}]}', JSON, InputError, None, None, "out of range"),
        (b'{"rows": [], "columns": {}}', JSON, InputError, None, None, "exactly one"),
        (b"{}", JSON, InputError, None, None, "exactly one"),
        (b'{"rowz": []}', JSON, InputError, None, None, "rowz"),
        (b"[]", JSON, InputError, None, None, "must be"),
        (b'{"a": 1}\n7\n', NDJSON, RowError, 1, None, "row 1 is a number"),
        (b'{"a": 1}\n{"a": {"b": 2}}\n', NDJSON, RowError, 1, "a", "a nested object"),
        (b'{"a": 1}\n{"a": \n', NDJSON, MalformedError, 1, None, "line 1"),
        (arrow(pa.table({"a": pa.array([{"x": 1}])})), ARROW, RowError, None, "a", "nested type"),
        (arrow(pa.table({"a": [[[1]]]})), ARROW, RowError, None, "a", "nested type"),
        (arrow(pa.table([[1], [2]], ["a", "a"])), ARROW, InputError, None, None, "more than once: a"),
    ],
)
def test_errors_name_row_and_field(
    body: bytes, media: str, kind: type[LlactrError], row: int | None, field: str | None, word: str
) -> None:
    with pytest.raises(LlactrError, match=word) as caught:
        decode(body, media, 10)
    assert type(caught.value) is kind
    assert (caught.value.row, caught.value.field) == (row, field)


@pytest.mark.parametrize(
    ("body", "media"),
    [
        (b"", JSON),
        (b'{"rows": [', JSON),
        (b'{"rows": [{"a": NaN}]}', JSON),
        (b'{"rows": [{"a": "\xff"}]}', JSON),
        (b'{"rows": [3], "x": ', JSON),
        (b'{"rows": ' + b"[" * 100_000, JSON),
        (b'{"a": "\xff"}', NDJSON),
        (b"", ARROW),
        (b"no arrow at all", ARROW),
        (arrow(pa.table({"a": list(range(1000))}))[:600], ARROW),
        (arrow(pa.table({"name": [1]})).replace(b"name", b"na\xff\xfe"), ARROW),
    ],
)
def test_what_cannot_be_parsed_is_400(body: bytes, media: str) -> None:
    with pytest.raises(MalformedError):
        decode(body, media, 10_000)


def test_an_arrow_stream_with_offsets_beyond_its_data_is_refused() -> None:
    stream = bytearray(arrow(pa.table({"a": ["first", "second"]})))
    place = stream.find((5).to_bytes(4, "little") + (11).to_bytes(4, "little"))
    assert place > 0
    stream[place + 4 : place + 8] = (2**30).to_bytes(4, "little")
    with pytest.raises(MalformedError):
        decode(bytes(stream), ARROW, 10)


@pytest.mark.parametrize("rows", [3, 100_000])
def test_too_many_rows_are_413_in_every_form(rows: int) -> None:
    bodies = {
        JSON: b'{"rows": [' + b",".join([b"{}"] * rows) + b"]}",
        NDJSON: b"{}\n" * rows,
        ARROW: arrow(pa.table({"a": list(range(rows))})),
    }
    for media, body in bodies.items():
        with pytest.raises(TooLargeError, match="the limit is 2"):
            decode(body, media, 2)
    with pytest.raises(TooLargeError):
        decode(b'{"columns": {"a": [' + b",".join([b"1"] * rows) + b"]}}", JSON, 2)
    with pytest.raises(TooLargeError):  # also where a row is wrong besides
        decode(b'{"rows": [' + b",".join([b"3"] * rows) + b"]}", JSON, 2)


@pytest.mark.parametrize(
    "media", ["text/csv", "application/x-www-form-urlencoded", "application/json; charset=latin-1"]
)
def test_other_content_types_are_415(media: str) -> None:
    with pytest.raises(UnsupportedMediaError, match="read here"):
        decode(b'{"rows": []}', media, 10)
