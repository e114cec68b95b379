"""The short way against the ordinary one, over sockets: what a caller sees and what is counted has to be the same."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.client import HTTPResponse

import pyarrow as pa
import pytest
from prometheus_client.parser import text_string_to_metric_families
from servers import free_port, wait_until

from services.ctr.app import build_app
from services.ctr.settings import CtrSettings
from services.shared.access.auth import ensure_admin_key
from services.shared.access.caller import Role
from services.shared.access.keys import KeyStore
from services.shared.http.draining import Drain, DrainingServer
from services.shared.http.serving import bind
from services.shared.http.short_way import ShortCall
from services.shared.storage.storage import Storage

Answer = tuple[int, list[tuple[str, str]], bytes]
JSON, NDJSON, ARROW = "application/json", "application/x-ndjson", "application/vnd.apache.arrow.stream"
ROW = b'{"age": 41, "job": "student"}'
ORDINARY = {"tracestate": "a=1"}  # nothing reads it without a traceparent, and only uvicorn takes it


def arrow() -> bytes:
    table = pa.table({"age": ["41", None], "job": ["student", "clerk"]})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


@dataclass
class Served:
    """A server in a thread; `took` tells of each request that the short way was offered whether it took it."""

    port: int
    admin: str
    keys: KeyStore
    server: DrainingServer
    took: list[bool] = field(default_factory=list)

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)

    def ask(self, body: bytes, headers: dict[str, str], path: str = "/v1/score") -> Answer:
        with self.connect() as connection:
            connection.sendall(request(body, headers, path))
            return answer_on(connection)

    def counts(self) -> dict[str, float]:
        _, _, text = self.ask_get("/metrics")
        families = text_string_to_metric_families(text.decode())
        return {
            f"{s.name}{sorted(s.labels.items())}": s.value
            for family in families
            for s in family.samples
            if "/v1/score" in s.labels.values() or s.name.startswith("llactr_scor")
            if not s.name.endswith(("_bucket", "_seconds_sum"))
        }

    def ask_get(self, path: str) -> Answer:
        with self.connect() as connection:
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            return answer_on(connection)


def request(body: bytes, headers: dict[str, str], path: str = "/v1/score", version: str = "1.1") -> bytes:
    lines = {"Host": "a", "X-Request-Id": "r1", "Content-Type": JSON, "Content-Length": str(len(body)), **headers}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items() if value)
    return f"POST {path} HTTP/{version}\r\n{head}\r\n".encode() + body


def answer_on(connection: socket.socket) -> Answer:
    response = HTTPResponse(connection)
    response.begin()
    body = response.read()
    return response.status, [h for h in response.getheaders() if h[0] != "date"], body


@pytest.fixture
def served(settings: CtrSettings, storage: Storage, publish: Callable[..., str]) -> Iterator[Served]:
    publish("llactr", alias="champion")
    settings = settings.model_copy(update={"port": free_port(), "key_cache_s": 1.0})
    admin = ensure_admin_key(settings.key_file)
    app = build_app(settings)
    assert app.short_way is not None
    server = DrainingServer(Drain(app), backlog=16, drain_s=1, way=app.short_way)
    found = Served(settings.port, admin, KeyStore(storage, settings.key_file), server)
    begin = app.short_way.begin

    def noted(call: ShortCall) -> bool:
        found.took.append(begin(call))
        return found.took[-1]

    app.short_way.begin = noted  # type: ignore[method-assign]
    listener = bind("127.0.0.1", settings.port)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    wait_until(lambda: server.started and found.ask_get("/readyz")[0] == 200, 20, "the server")
    yield found
    server.should_exit = True
    thread.join(20)
    assert not thread.is_alive()


ROWS = b'{"rows": [' + ROW + b", {}]}"
MANY = b'{"rows": [' + b"{}," * 500 + b"{}]}"
TAKEN: dict[str, tuple[bytes, dict[str, str]]] = {
    "rows": (ROWS, {}),
    "no type": (ROWS, {"Content-Type": ""}),
    "no rows": (b'{"rows": []}', {}),
    "columns": (b'{"columns": {"age": [1, 2], "job": ["clerk", null]}}', {}),
    "lines": (ROW + b"\n{}\n", {"Content-Type": NDJSON}),
    "arrow": (arrow(), {"Content-Type": ARROW}),
    "to lines": (ROWS, {"Accept": NDJSON}),
    "to arrow": (ROWS, {"Accept": ARROW}),
    "to anything": (ROWS, {"Accept": "*/*", "Connection": "keep-alive", "User-Agent": "x"}),
    "escapes": (b'{"rows": [{"job": "st\\u0075dent", "other": "\xc3\xa4"}]}', {}),
    "row ids": (b'{"rows": [{"job": "clerk", "row_id": "a"}]}', {}),
    "deadline": (ROWS, {"X-Timeout-Ms": "5000"}),
    "many rows": (MANY, {}),
    "many lines": (b"\n".join([ROW] * 1500), {"Content-Type": NDJSON}),
}
LEFT: dict[str, tuple[bytes, dict[str, str]]] = {
    "no json": (b"{", {}),
    "empty": (b"", {}),
    "nested": (b'{"rows": [{"age": {}}]}', {}),
    "row id": (b'{"rows": [{"row_id": 1.5}]}', {}),
    "another type": (ROWS, {"Content-Type": "text/plain"}),
    "a charset": (ROWS, {"Content-Type": "application/json; charset=utf-8"}),
    "not acceptable": (ROWS, {"Accept": "image/png"}),
    "no deadline": (ROWS, {"X-Timeout-Ms": "soon"}),
    "unknown key": (ROWS, {"Authorization": "Bearer nobody's"}),
    "compressed": (ROWS, {"Content-Encoding": "gzip"}),
    "many rows by a deadline": (MANY, {"X-Timeout-Ms": "5000"}),
    "too many bytes": (b'{"rows": [' + b'{"other": "%s"},' % (b"x" * 1000) * 700 + b"{}]}", {}),
    "closing": (ROWS, {"Connection": "close"}),
}


def test_both_ways_answer_and_count_the_same(served: Served) -> None:
    for cases, takes in ((TAKEN, True), (LEFT, False)):
        for name, (body, headers) in cases.items():
            served.took.clear()
            before = served.counts()
            short = served.ask(body, headers)
            between = served.counts()
            assert (served.took == [True]) == takes, name
            ordinary = served.ask(body, {**headers, **ORDINARY})
            after = served.counts()
            assert short == ordinary, name
            assert {k: between[k] - before.get(k, 0) for k in between} == {
                k: after[k] - between.get(k, 0) for k in after
            }, name


def test_keys_are_checked_on_the_short_way(served: Served) -> None:
    reader, key = served.keys.create("reader", Role.READER)
    _, elsewhere = served.keys.create("elsewhere", Role.READER, scopes=["another"])
    _, slow = served.keys.create("slow", Role.READER, rate_per_s=1)
    for given, statuses in ((served.admin, [200, 200]), (key, [200, 200]), (elsewhere, [403, 403]), (slow, [200, 429])):
        served.took.clear()
        headers = {"Authorization": f"Bearer {given}"}
        assert [served.ask(ROWS, headers)[0] for _ in statuses] == statuses
        assert served.took[-1] == (statuses[-1] == 200)
    served.keys.revoke(reader.id)
    wait_until(lambda: served.ask(ROWS, {"Authorization": f"Bearer {key}"})[0] == 401, 20, "the key to be forgotten")


def test_pieces_and_several_requests_at_once_are_answered_in_order(served: Served) -> None:
    whole = request(ROWS, {})
    with served.connect() as connection:
        for size in (1, 7, len(whole) - len(ROWS), len(whole) - 1):
            for start in range(0, len(whole), size):
                connection.sendall(whole[start : start + size])
                time.sleep(0.0005)
            assert answer_on(connection)[0] == 200
        names = ["one", "two", "three"]
        connection.sendall(b"".join(request(ROWS, {"X-Request-Id": name}) for name in names))
        stream = connection.makefile("rb")
        seen: list[str] = []
        while len(seen) < len(names):
            line = stream.readline()
            if line.startswith(b"x-request-id"):
                seen.append(line.split()[1].decode())
        assert seen == names


def test_what_comes_at_once_over_many_connections_is_answered_to_each(served: Served) -> None:
    connections = [served.connect() for _ in range(20)]
    for number, connection in enumerate(connections):
        connection.sendall(
            request(b'{"rows": [' + b",".join([ROW] * (number + 1)) + b"]}", {"X-Request-Id": f"r{number}"})
        )
    for number, connection in enumerate(connections):
        with connection:
            status, _, body = answer_on(connection)
            content = json.loads(body)
            assert (status, content["request_id"], len(content["scores"])) == (200, f"r{number}", number + 1)
    assert served.took == [True] * len(connections)


def test_another_version_and_another_method_are_for_uvicorn(served: Served) -> None:
    with served.connect() as connection:
        connection.sendall(request(ROWS, {}, version="1.0"))
        assert answer_on(connection)[0] == 200
        assert connection.recv(1) == b""
    assert served.ask_get("/v1/score")[0] == 405
    assert served.took == []
    for query, takes in (("", True), ("?model=tiny", True), ("?model=tiny@champion", True), ("?raw=true", False)):
        served.took.clear()
        assert served.ask(ROWS, {}, f"/v1/score{query}")[0] == 200
        assert served.took == [takes]
    for path, status in (("/v1/score?model=other", 404), ("/v1/scores", 404), ("/v1/score?model=tiny:x", 404)):
        assert served.ask(ROWS, {}, path) == served.ask(ROWS, ORDINARY, path)
        assert served.ask(ROWS, {}, path)[0] == status


def test_a_connection_is_kept_while_it_is_used_and_closed_when_it_is_not(served: Served) -> None:
    served.server.config.timeout_keep_alive = 1
    with served.connect() as connection:
        for _ in range(4):
            connection.sendall(request(ROWS, {}))
            assert answer_on(connection)[0] == 200
            time.sleep(0.4)
        assert served.took == [True] * 4
        assert connection.recv(1) == b""


def test_who_hangs_up_within_a_request_harms_nobody(served: Served) -> None:
    whole = request(ROWS, {})
    for end in (30, len(whole) - 5, len(whole)):
        with served.connect() as connection:
            connection.sendall(whole[:end])
    assert served.ask(ROWS, {})[0] == 200
