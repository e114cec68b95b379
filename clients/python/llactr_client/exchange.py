"""What happens around the sending of a call: headers, retries, the ETag cache, errors. No input or output here."""

import random
import ssl
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import httpx2

from llactr_client.call import Call, Reply
from llactr_client.errors import ClientError, ConnectionFailed, error_of

T = TypeVar("T")
TraceSource = Callable[[], str | None]
NEVER_ARRIVED = (httpx2.ConnectError, httpx2.ConnectTimeout)
# The service closed the connection: before it read the call, or in the middle of its answer. A second PUT or DELETE
# may then undo the first, or be told that there is nothing left to delete.
PERHAPS_ARRIVED = httpx2.RemoteProtocolError
NOT_TWICE = frozenset({"PUT", "DELETE"})
BUSY = frozenset({429, 503})
CACHED_REPLIES = 16
LOOPBACK = ("all://127.0.0.1", "all://localhost", "all://[::1]")


@dataclass(frozen=True)
class Retry:
    """How often a repeatable call is tried, and the bounds of the pause before the next try in seconds.

    The pause doubles from `first_s` up to `most_s`, times a random factor of 0.5 to 1; where the service names a
    Retry-After, that is obeyed instead, up to `most_s`.
    """

    attempts: int = 5
    first_s: float = 0.1
    most_s: float = 5.0

    def pause(self, failures: int, retry_after: str | None = None) -> float:
        """Seconds to wait after so many failures (>= 1)."""
        if retry_after is not None and retry_after.strip().isdigit():
            return min(float(retry_after), self.most_s)
        full = min(self.first_s * 2.0 ** (failures - 1), self.most_s)
        return full * random.uniform(0.5, 1.0)


class ReplyCache:
    """The last replies with an ETag, by service, path and format."""

    def __init__(self) -> None:
        self._replies: OrderedDict[tuple[str, str, str], Reply] = OrderedDict()

    def get(self, call: Call[T]) -> Reply | None:
        """The stored reply to the call."""
        return self._replies.get(_cache_key(call)) if call.cached else None

    def put(self, call: Call[T], reply: Reply) -> None:
        """Store a reply if it can be revalidated."""
        if not call.cached or "etag" not in reply.headers:
            return
        self._replies[_cache_key(call)] = reply
        self._replies.move_to_end(_cache_key(call))
        while len(self._replies) > CACHED_REPLIES:
            self._replies.popitem(last=False)


class Exchange(Generic[T]):
    """One call on its way: give it what came back, and it says how long to pause before the next try.

    It ends when `judge` returns None; then `result` is the parsed answer. What `trace` gives is sent as the header
    `traceparent`, but not with a GET: polls would fill a trace with hundreds of spans.
    """

    result: T

    def __init__(
        self, call: Call[T], key: str | None, retry: Retry, cache: ReplyCache, trace: TraceSource | None = None
    ) -> None:
        self._call = call
        self._retry = retry
        self._cache = cache
        self._stored = cache.get(call)
        self._failures = 0
        self.headers = {**call.headers, **({"Authorization": f"Bearer {key}"} if key else {})}
        if self._stored is not None:
            self.headers["If-None-Match"] = self._stored.headers["etag"]
        traceparent = trace() if trace is not None and call.method != "GET" else None
        if traceparent:
            self.headers["traceparent"] = traceparent

    def judge(self, outcome: Reply | httpx2.TransportError) -> float | None:
        """None when `result` is there, else the seconds to pause before the next try.

        Raises:
            ApiError: the service refused the call.
            ConnectionFailed: no answer came, and the call may not be sent again.
        """
        self._failures += 1
        again = self._call.repeatable and self._failures < self._retry.attempts
        if isinstance(outcome, httpx2.TransportError):
            if again and self._may_repeat(outcome):
                return self._retry.pause(self._failures)
            raise lost(self._call, outcome)
        if outcome.status in BUSY and again and outcome.status not in self._call.accept:
            return self._retry.pause(self._failures, outcome.headers.get("retry-after"))
        self.result = self._call.parse(self._checked(outcome))
        return None

    def _may_repeat(self, error: httpx2.TransportError) -> bool:
        if isinstance(error, PERHAPS_ARRIVED):
            return self._call.method not in NOT_TWICE
        return isinstance(error, NEVER_ARRIVED)

    def _checked(self, reply: Reply) -> Reply:
        if reply.status == 304 and self._stored is not None:
            return self._stored
        if reply.status >= 300 and reply.status not in self._call.accept:
            raise error_of(reply.status, reply.body)
        self._cache.put(self._call, reply)
        return reply


def checked_key(key: str | None) -> str | None:
    """The key, if it can be one.

    Raises:
        ClientError: it holds a blank, a line break or a letter beyond ASCII. The key is not repeated.
    """
    if key is not None and not (key.isascii() and key.isprintable() and " " not in key):
        raise ClientError(
            "the API key may hold printable ASCII characters only, without blanks and line breaks; "
            "give it as it was printed when it was made"
        )
    return key


def lost(call: Call[T], error: httpx2.TransportError) -> ConnectionFailed:
    """The error for a call that got no answer."""
    why = str(error) or type(error).__name__
    return ConnectionFailed(f"the {call.service.upper()} service does not answer {call.method} {call.path}: {why}")


def reply_of(response: httpx2.Response) -> Reply:
    """The parts of a read response that matter here."""
    return Reply(response.status_code, {k.lower(): v for k, v in response.headers.items()}, response.content)


def timeout_of(read_s: float | None) -> httpx2.Timeout:
    """A connection must be there within 5 s, an answer within `read_s` (None: no limit)."""
    return httpx2.Timeout(read_s, connect=5.0)


def limits() -> httpx2.Limits:
    """Pool limits; idle connections are given up before uvicorn closes them (5 s)."""
    return httpx2.Limits(max_connections=100, max_keepalive_connections=20, keepalive_expiry=4.0)


def trust(*urls: str) -> ssl.SSLContext | bool:
    """What certificates are checked against. Reading the system's takes 0.2 s, which plain http can do without."""
    return True if any(url.startswith("https:") for url in urls) else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def _cache_key(call: Call[T]) -> tuple[str, str, str]:
    return call.service, call.target, call.headers.get("Accept", "")
