"""What happens around the sending of a call: headers, retries, the ETag cache, errors. No input or output here."""

import functools
import inspect
import random
import ssl
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import httpx2

from llactr_client.call import Call, Reply
from llactr_client.deadline import Deadline
from llactr_client.errors import ClientError, ConnectionFailed, DeadlineExceeded, error_of

T = TypeVar("T")
M = TypeVar("M", bound=Callable[..., object])
TraceSource = Callable[[], str | None]
NEVER_ARRIVED = (httpx2.ConnectError, httpx2.ConnectTimeout)
# The connection broke: before the service read the call, or in the middle of its answer. A second PUT or DELETE may
# then undo the first, or be told that there is nothing left to delete.
PERHAPS_ARRIVED = (httpx2.RemoteProtocolError, httpx2.NetworkError)
NOT_TWICE = frozenset({"PUT", "DELETE"})
BUSY = frozenset({429, 503})
TOO_LATE = 504
CACHED_REPLIES = 16
LOOPBACK = ("all://127.0.0.1", "all://localhost", "all://[::1]")


@dataclass(frozen=True)
class Retry:
    """How often a repeatable call is tried, and the bounds of the pause before the next try in seconds.

    The pause is drawn from 0 up to a bound that doubles from `first_s` to `most_s` (full jitter: Brooker, 2015). Where
    the service names a Retry-After, that much, up to `most_s`, comes before it: callers that were refused together do
    not come back together.
    """

    attempts: int = 5
    first_s: float = 0.1
    most_s: float = 5.0

    def pause(self, failures: int, retry_after: str | None = None) -> float:
        """Seconds to wait after so many failures (>= 1)."""
        named = retry_after is not None and retry_after.strip().isdigit()
        least = min(float(retry_after or 0), self.most_s) if named else 0.0
        return least + random.uniform(0.0, min(self.first_s * 2.0 ** (failures - 1), self.most_s))


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
        self,
        call: Call[T],
        key: str | None,
        retry: Retry,
        cache: ReplyCache,
        trace: TraceSource | None = None,
        deadline: Deadline | None = None,
    ) -> None:
        self._call = call
        self.deadline = deadline or Deadline(None)
        self._retry = retry
        self._cache = cache
        self._stored = cache.get(call)
        self._failures = 0
        self._headers = {**call.headers, **({"Authorization": f"Bearer {key}"} if key else {})}
        if self._stored is not None:
            self._headers["If-None-Match"] = self._stored.headers["etag"]
        traceparent = trace() if trace is not None and call.method != "GET" else None
        if traceparent:
            self._headers["traceparent"] = traceparent

    @property
    def headers(self) -> dict[str, str]:
        """The headers of the next try."""
        return {**self._headers, **self.deadline.headers()}

    def judge(self, outcome: Reply | httpx2.TransportError) -> float | None:
        """None when `result` is there, else the seconds to pause before the next try.

        Raises:
            ApiError: the service refused the call.
            DeadlineExceeded: the time was over before the answer.
            ConnectionFailed: no answer came, and the call may not be sent again.
        """
        self._failures += 1
        if self._call.repeatable and self._failures < self._retry.attempts and self._may_repeat(outcome):
            named = None if isinstance(outcome, httpx2.TransportError) else outcome.headers.get("retry-after")
            pause = self._retry.pause(self._failures, named)
            if self.deadline.allows(pause):
                return pause
        if isinstance(outcome, httpx2.TransportError):
            raise self.late() if self.deadline.passed else lost(self._call, outcome)
        if outcome.status == TOO_LATE and self.deadline.left_s() is not None:
            raise self.late()
        self.result = self._call.parse(self._checked(outcome))
        return None

    def late(self) -> DeadlineExceeded:
        """The error for a call whose time is over."""
        service = self._call.service.upper()
        return DeadlineExceeded(
            f"the {service} service did not answer {self._call.method} {self._call.path} before the deadline"
        )

    def _may_repeat(self, outcome: Reply | httpx2.TransportError) -> bool:
        if isinstance(outcome, Reply):
            return outcome.status in BUSY and outcome.status not in self._call.accept
        if isinstance(outcome, NEVER_ARRIVED):
            return True
        return isinstance(outcome, PERHAPS_ARRIVED) and self._call.twice and self._call.method not in NOT_TWICE

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


def reply_of(response: httpx2.Response, body: bytes) -> Reply:
    """The parts of a response that matter here, with its body."""
    return Reply(response.status_code, {k.lower(): v for k, v in response.headers.items()}, body)


def limits() -> httpx2.Limits:
    """Pool limits; idle connections are given up before uvicorn closes them (5 s)."""
    return httpx2.Limits(max_connections=100, max_keepalive_connections=20, keepalive_expiry=4.0)


def trust(*urls: str) -> ssl.SSLContext | bool:
    """What certificates are checked against. Reading the system's takes 0.2 s, which plain http can do without."""
    return True if any(url.startswith("https:") for url in urls) else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def named(method: M, plan: Callable[..., object]) -> M:
    """Let a method bear the name, the docstring and (behind `self`) the signature of its plan."""
    planned = inspect.signature(plan)
    itself = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
    functools.update_wrapper(method, plan)
    vars(method)["__signature__"] = planned.replace(parameters=[itself, *planned.parameters.values()])
    return method


def _cache_key(call: Call[T]) -> tuple[str, str, str]:
    return call.service, call.target, call.headers.get("Accept", "")
