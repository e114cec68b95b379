"""Bodies of scoring requests that no honest caller sends: cut, flipped, nested, lying about their lengths."""

import gzip
import json
import random
import struct
from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa
from pyarrow import ipc

DEEP = 100_000
ROWS = [{"job": "student", "age": 20.5, "tags": ["a", "b"], "city": "c1"}, {"job": None}, {}]
JSON, NDJSON, ARROW = "application/json", "application/x-ndjson", "application/vnd.apache.arrow.stream"
OCTETS = "application/octet-stream"
TOKENS = [
    b"NaN",
    b"-Infinity",
    b"1e999",
    b"-1e-999",
    b"9" * 5000,
    b"0x10",
    b'"\\ud800"',
    b'"\\udc00\\ud800"',
    b'"\xed\xa0\x80"',
    b"\x00",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"[" * DEEP,
    b'{"a":' * DEEP,
    b'{"a":[[[1]]]}',
    b'"' + b"x" * 200_000 + b'"',
    b"null",
    b"true",
    b"[]",
    b"{}",
    b",",
    b"}",
]


@dataclass(frozen=True)
class Request:
    """Where a body goes, and how it calls itself."""

    path: str
    headers: dict[str, str]
    body: bytes


def draw(chance: random.Random, model: str) -> Request:
    """One request to an endpoint that scores, broken somewhere more often than not."""
    make: Callable[[random.Random, str], Request] = chance.choice(
        [_json, _json, _ndjson, _arrow, _arrow, _infer, _octets]
    )
    request = make(chance, model)
    if chance.random() < 0.05:
        kind = chance.choice([JSON, NDJSON, ARROW, OCTETS, "text/html", "application/json; charset=utf-16", ""])
        request = Request(request.path, {**request.headers, "Content-Type": kind}, request.body)
    if chance.random() < 0.05:
        bomb = gzip.compress(b" " * 20_000_000, 1)
        return Request(request.path, {**request.headers, "Content-Encoding": "gzip"}, bomb)
    return request


def _scoring(chance: random.Random, model: str, media: str, body: bytes) -> Request:
    path = chance.choice(
        ["/v1/score", "/v1/score", "/v1/score?details=true", "/v1/explain", f"/v1/score?model={model}"]
    )
    accept = chance.choice([{}, {}, {"Accept": ARROW}, {"Accept": NDJSON}, {"Accept": "image/png"}])
    return Request(path, {"Content-Type": media, **accept}, body)


def _json(chance: random.Random, model: str) -> Request:
    columns = {name: [row.get(name) for row in ROWS] for name in ROWS[0]}
    content = chance.choice([{"rows": ROWS}, {"columns": columns}, {"rows": ROWS, "routing_key": "x"}])
    return _scoring(chance, model, JSON, broken(chance, json.dumps(content).encode()))


def _ndjson(chance: random.Random, model: str) -> Request:
    lines = [json.dumps(row).encode() for row in ROWS]
    place = chance.randrange(len(lines))
    lines[place] = broken(chance, lines[place])
    return _scoring(chance, model, NDJSON, chance.choice([b"\n", b"\r\n", b"\n\n"]).join(lines))


def _arrow(chance: random.Random, model: str) -> Request:
    """Streams of every kind of column, some of which the endpoint refuses even when they are whole."""
    texts = pa.array(["student", None, "admin"])
    columns: dict[str, pa.Array] = {
        "job": chance.choice(
            [texts, texts.dictionary_encode(), texts.cast(pa.large_string()), texts.cast(pa.string_view())]
        ),
        "age": chance.choice([pa.array([1, 2, None], kind) for kind in (pa.int8(), pa.float16(), pa.float64())]),
        "tags": chance.choice(
            [pa.array([["a"], [], None]), pa.array([[["a"]], [], None]), pa.array([{"a": 1}, None, {}])]
        ),
        "city": chance.choice([pa.nulls(3), texts.cast(pa.binary()), pa.RunEndEncodedArray.from_arrays([3], ["c"])]),
    }
    names = chance.sample(list(columns), chance.randint(1, 4))
    table = pa.table({name: columns[name] for name in names})
    sink = pa.BufferOutputStream()
    options = ipc.IpcWriteOptions(compression=chance.choice([None, "lz4", "zstd"]))
    with ipc.new_stream(sink, table.schema, options=options) as writer:
        writer.write_table(table)
    body = bytearray(sink.getvalue().to_pybytes())
    for _ in range(chance.choice([0, 0, 1, 3, 20])):
        _spoil(chance, body)
    return _scoring(chance, model, ARROW, bytes(body))


def _spoil(chance: random.Random, body: bytearray) -> None:
    """Flip a bit, write a large length over four aligned bytes, or cut the end off."""
    if len(body) < 16:
        return
    place, way = chance.randrange(len(body)), chance.randrange(5)
    if way < 3:
        body[place] ^= 1 << chance.randrange(8)
    elif way == 3:
        length = chance.choice([0, 1, 2**31 - 1, 2**32 - 1, 2**20, len(body)])
        place = min(place // 4 * 4, len(body) - 4)
        body[place : place + 4] = struct.pack("<I", length)
    else:
        del body[place:]


def _infer(chance: random.Random, model: str) -> Request:
    tensors = [
        {"name": "job", "shape": [2], "datatype": "BYTES", "data": ["student", "admin"]},
        {"name": "age", "shape": [2, 1], "datatype": chance.choice(["FP64", "INT8", "UINT64"]), "data": [1, 2]},
    ]
    body = broken(chance, json.dumps({"inputs": tensors}).encode())
    return Request(f"/v2/models/{model}/infer", {"Content-Type": JSON}, body)


def _octets(chance: random.Random, model: str) -> Request:
    """Binary tensors whose sizes are true or not: that of the JSON, that of each tensor, that of each text."""
    data = b"".join(struct.pack("<I", _length(chance, len(text))) + text for text in (b"student", b"admin"))
    tensor = {
        "name": "job",
        "shape": [chance.choice([2, 2, 2, 0, -1, 2**62])],
        "datatype": "BYTES",
        "parameters": {"binary_data_size": _length(chance, len(data))},
    }
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    told = str(_length(chance, len(head)))
    headers = {"Content-Type": OCTETS, "Inference-Header-Content-Length": chance.choice([told, told, told, "x", "-1"])}
    return Request(f"/v2/models/{model}/infer", headers, head + data)


def _length(chance: random.Random, true: int) -> int:
    return true if chance.random() < 0.7 else chance.choice([0, 1, true - 1, true + 1, 2**31, 2**32 - 1])


def broken(chance: random.Random, body: bytes) -> bytes:
    """The body with up to three things cut out, put in, flipped or doubled; one in five stays whole."""
    for _ in range(chance.choice([0, 1, 1, 2, 3])):
        place, end = sorted(chance.choices(range(len(body) + 1), k=2))
        token = chance.choice(TOKENS)
        body = chance.choice(
            [
                body[:place],
                body[:place] + body[end:],
                body[:place] + token + body[place:],
                body[:place] + token + body[end:],
                body[:end] + body[place:],
                _swapped(chance, body, token),
            ]
        )
    return body


def _swapped(chance: random.Random, body: bytes, token: bytes) -> bytes:
    """A value of the JSON replaced, so that the rest stays whole."""
    value = chance.choice([b'"student"', b"20.5", b"null", b'"c1"', b"[2]", b'"a"', b"1"])
    return body.replace(value, token, 1)
