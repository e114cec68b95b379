"""The short way of calls that are so many and so brief that an ASGI server takes longer than answering them.

A connection looks at what it receives before uvicorn does. One whole request for the `ShortWay`, with nothing unusual
in its head, is answered right there, without a task, a scope or a middleware; heads come again and again, so each is
parsed once. Whatever else comes, and whatever the way gives back, goes to uvicorn as it came: it has read nothing yet.
"""

import asyncio
import logging
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from services.shared.http.requests import access_log, count, log_request, request_id_of
from services.shared.telemetry import traces

LONGEST_HEAD = 2048
HEADS = 2048
BUSY_S = 1.0
END = b"\r\n\r\n"
PLAIN_PATH = re.compile(rb"[A-Za-z0-9/_.-]+")
# Headers that have uvicorn or a middleware do more than hand the body on.
UNUSUAL = frozenset(
    {b"transfer-encoding", b"content-encoding", b"expect", b"upgrade", b"traceparent", b"tracestate", b"trailer"}
)
RawHeaders = Sequence[tuple[bytes, bytes]]


@dataclass(frozen=True, eq=False)
class Head:
    """A request's target, its headers, their names in lower case and each there once, and the bytes of its body."""

    path: str
    query: bytes
    headers: Mapping[bytes, bytes]
    length: int


class ShortWay(Protocol):
    """What answers calls of one method and path.

    Args:
        method, path: of the calls, whatever their query; the path is without parameters.
        most_bytes: of a body.
    """

    method: str
    path: str
    most_bytes: int

    def begin(self, call: "ShortCall") -> bool:
        """Answer the call, at once or later on the event loop; False, and nothing done, where it is for uvicorn.

        Never waits and never raises.
        """


class Gatekeeper(Protocol):
    """Knows whether the process is about to end; then each answer has to say so, which uvicorn's way does."""

    def is_on(self) -> bool:
        """Whether callers are sent away."""

    def note_answer(self) -> None:
        """A request was answered."""


@dataclass(slots=True)
class ShortCall:
    """A request on the short way. `answer` or `give_back` has to be called once, unless `begin` returned False."""

    connection: "ShortConnection"
    head: Head
    body: bytes
    request_id: str
    began: float

    @property
    def is_alone(self) -> bool:
        """Whether nobody else is connected, so that no other request can come with this one."""
        return len(self.connection.connections) == 1

    @property
    def is_gone(self) -> bool:
        """Whether the caller has hung up; any thread may ask."""
        return self.connection.transport.is_closing()

    def answer(self, status: int, headers: RawHeaders, body: bytes) -> None:
        """Send the answer; `headers` are complete but for the date and the request's id."""
        self.connection.answer(self, status, headers, body)

    def give_back(self) -> None:
        """Let uvicorn serve the request."""
        self.connection.give_back()


class ShortConnection(HttpToolsProtocol):
    """uvicorn's connection with a short way before it; `short_connection` binds it to one."""

    way: ShortWay
    gatekeeper: Gatekeeper
    start: bytes

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._is_reading = False  # uvicorn's parser is within a request
        self._given = b""  # the request on the short way, as it came
        self._held = bytearray()  # what came of a request that is not whole, or behind one that is not answered
        self._wanted = 0  # the bytes at which what is held is a whole request
        self._answered_at = 0.0

    def data_received(self, data: bytes) -> None:
        """Take the short way, or uvicorn's."""
        if self._given or self._wanted:
            self._held += data
            if self._given and len(self._held) > self.way.most_bytes:
                self.flow.pause_reading()
            if self._given or len(self._held) < self._wanted:
                return
            data, self._held, self._wanted = bytes(self._held), bytearray(), 0
        if not (data.startswith(self.start) and self._is_free() and self._took(data)):
            super().data_received(data)

    def _is_free(self) -> bool:
        is_between = not self._is_reading and (self.cycle is None or self.cycle.response_complete)
        return (
            is_between
            and not self.flow.write_paused
            and not self.gatekeeper.is_on()
            and not traces.is_recording()
            and not access_log.isEnabledFor(logging.DEBUG)
        )

    def _took(self, data: bytes) -> bool:
        end = data.find(END, 0, LONGEST_HEAD)
        head = read_head(data[:end]) if end > 0 else None
        if head is None or head.path != self.way.path or head.length > self.way.most_bytes:
            return False
        whole = end + len(END) + head.length
        if len(data) < whole:
            self._held, self._wanted = bytearray(data), whole
            return True
        if len(data) > whole:  # several requests at once
            return False
        self._given = data
        name = request_id_of(head.headers)
        if self.way.begin(ShortCall(self, head, data[end + len(END) :], name, time.perf_counter())):
            return True
        self._given = b""
        return False

    def answer(self, call: ShortCall, status: int, headers: RawHeaders, body: bytes) -> None:
        """What `ShortCall.answer` does."""
        parts = [STATUS_LINE[status]]
        for name, value in (*self.server_state.default_headers, *headers, (b"x-request-id", call.request_id.encode())):
            parts += (name, b": ", value, b"\r\n")
        parts += (b"\r\n", body)
        if not self.transport.is_closing():
            self.transport.write(b"".join(parts))
        self._read_on()
        self.server_state.total_requests += 1
        self.gatekeeper.note_answer()
        seconds = time.perf_counter() - call.began
        count(self.way.method, self.way.path, status, seconds, call.head.length, len(body))
        if status >= 400:
            log_request(self.way.method, self.way.path, status, seconds, call.request_id)
        self._answered_at = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self._watch(self.timeout_keep_alive)
        self._go_on()

    def give_back(self) -> None:
        """What `ShortCall.give_back` does."""
        given, self._given = self._given, b""
        self._read_on()
        if self.parser is not None:  # else the caller is gone
            super().data_received(given)
            self._go_on()

    def _read_on(self) -> None:
        if not self.transport.is_closing():
            self.flow.resume_reading()

    def _go_on(self) -> None:
        """Turn to what came meanwhile."""
        self._given = b""
        if self._held:
            data, self._held = bytes(self._held), bytearray()
            self.data_received(data)

    # -- what uvicorn's connection does for itself -------------------------------------------------------------------
    def on_message_begin(self) -> None:
        """uvicorn's parser is within a request."""
        self._is_reading = True
        super().on_message_begin()

    def on_message_complete(self) -> None:
        """And now between two."""
        self._is_reading = False
        super().on_message_complete()

    def _watch(self, seconds: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler)

    def timeout_keep_alive_handler(self) -> None:
        """Close the connection if it was idle for so long; one timer serves many requests of the short way."""
        left = self._answered_at + self.timeout_keep_alive - self.loop.time()
        if self._given or self._wanted or left > 0:
            self._watch(left if left > 0 else BUSY_S)
        else:
            super().timeout_keep_alive_handler()

    def connection_lost(self, exc: Exception | None) -> None:
        """The caller is gone; uvicorn counts what came of a request."""
        if self._wanted:
            super().data_received(bytes(self._held))
        self._held, self._wanted = bytearray(), 0
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """Close once the request at work is answered."""
        if self._given:
            self.loop.call_soon(self.shutdown)
        else:
            super().shutdown()


def short_connection(way: ShortWay, gatekeeper: Gatekeeper) -> type[asyncio.Protocol]:
    """The class of connections that uvicorn makes, with this way before it."""
    start = f"{way.method} {way.path}".encode()
    return type("BoundConnection", (ShortConnection,), {"way": way, "gatekeeper": gatekeeper, "start": start})


@lru_cache(maxsize=HEADS)
def read_head(data: bytes) -> Head | None:
    """The head of a request, without the empty line that ends it; None where something in it is unusual."""
    found = _Found()
    parser = httptools.HttpRequestParser(found)
    try:
        parser.feed_data(data + END)
    except (httptools.HttpParserError, httptools.HttpParserUpgrade):
        return None
    headers = dict(found.headers)
    length = headers.get(b"content-length", b"")
    path, _, query = found.target.partition(b"?")
    if parser.get_http_version() != "1.1" or not PLAIN_PATH.fullmatch(path):
        return None
    if len(headers) < len(found.headers) or UNUSUAL & headers.keys() or not length.isdigit():
        return None
    if headers.get(b"connection", b"keep-alive").lower() != b"keep-alive" or not parser.should_keep_alive():
        return None
    return Head(path.decode(), query, headers, int(length))


class _Found:
    """What the parser calls back."""

    def __init__(self) -> None:
        self.target = b""
        self.headers: list[tuple[bytes, bytes]] = []

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))
