"""Two small ASGI middlewares around every request: what is known of it afterwards, and what its body may be."""

import asyncio
import logging
import random
import re
import time
from functools import lru_cache

from prometheus_client import Counter, Histogram
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.shared.http.problems import RETRY_AFTER_S, answer, describe, internal_problem
from services.shared.http.shortcut import KnownRoute
from services.shared.telemetry import metrics, traces
from services.shared.telemetry.logs import request_id

CLIENT_GONE = 499  # in the log only: nobody is left to be answered
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
LONGEST_REQUEST_ID = 128
ACCEPTED_ID = re.compile(rb"[A-Za-z0-9._:-]{1,%d}" % LONGEST_REQUEST_ID)

access_log = logging.getLogger("services.access")
logger = logging.getLogger(__name__)


class RequestLog:
    """Around each request: its id (the caller's X-Request-Id if it is plain), its span, its metrics, its log line.

    It also answers what nobody caught.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        given = headers.get(b"x-request-id", b"")
        name = given.decode() if ACCEPTED_ID.fullmatch(given) else f"{random.getrandbits(128):032x}"
        scope.setdefault("state", {})["request_id"] = name
        token = request_id.set(name)
        trace = traces.begin_request(scope["method"], scope["path"], headers)
        metrics.REQUESTS_IN_FLIGHT.inc()
        started = time.perf_counter()
        out = _Outgoing(send, name)
        try:
            await self.app(scope, receive, out.send)
        except ClientDisconnect:
            out.status = CLIENT_GONE
        except asyncio.CancelledError:  # the server ends, and the request has had its time
            if out.status == 0:
                problem = describe(503, "unavailable", "the service ends; send the call again")
                await answer(problem, {"Retry-After": str(RETRY_AFTER_S[503])})(scope, receive, out.send)
            raise
        except Exception:
            logger.exception("unexpected error")
            if out.status == 0:
                await answer(internal_problem())(scope, receive, out.send)
        finally:
            seconds = time.perf_counter() - started
            metrics.REQUESTS_IN_FLIGHT.dec()
            _count(scope, out, seconds)
            _log(scope, out.status, seconds)
            if trace is not None:
                trace.end(_route_of(scope), name, out.status)
            request_id.reset(token)


class _Outgoing:
    """What is sent: the request's id is added, the status and the body's bytes are noted."""

    def __init__(self, send: Send, name: str) -> None:
        self._send = send
        self._id = (b"x-request-id", name.encode())
        self.status = 0
        self.bytes = 0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message.get("headers", ()), self._id]
        else:
            self.bytes += len(message.get("body", b""))
        await self._send(message)


def _route_of(scope: Scope) -> str | None:
    """The template of the path, as /v1/jobs/{job_id}; None where no route knows the path."""
    return getattr(scope.get("route"), "path", None)


def _count(scope: Scope, out: _Outgoing, seconds: float) -> None:
    route = _route_of(scope) or "unknown"
    method = scope["method"] if scope["method"] in METHODS else "other"
    status = f"{out.status // 100}xx" if out.status else "none"
    requests, request_seconds, request_bytes, response_bytes = _series(method, route, status)
    requests.inc()
    request_seconds.observe(seconds)
    request_bytes.observe(scope["state"].get("body_bytes", 0))
    response_bytes.observe(out.bytes)


@lru_cache(maxsize=1024)
def _series(method: str, route: str, status: str) -> tuple[Counter, Histogram, Histogram, Histogram]:
    """The series of a kind of request; to look them up again for each one takes as long as to count it."""
    return (
        metrics.REQUESTS.labels(method, route, status),
        metrics.REQUEST_SECONDS.labels(method, route),
        metrics.REQUEST_BYTES.labels(route),
        metrics.RESPONSE_BYTES.labels(route),
    )


def _log(scope: Scope, status: int, seconds: float) -> None:
    """A line for a request; at DEBUG where it is frequent and went well, since the line takes as long as the answer."""
    level = logging.DEBUG if status < 400 and isinstance(scope.get("route"), KnownRoute) else logging.INFO
    if not access_log.isEnabledFor(level):
        return
    facts = {"method": scope["method"], "path": scope["path"], "status": status, "ms": round(seconds * 1000, 2)}
    access_log.log(level, "%s %s %d", scope["method"], scope["path"], status, extra={"facts": facts})


class BodyLimit:
    """Refuses a body beyond the limit (at once where Content-Length tells, else by count) and a compressed one."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self.app = app
        self.limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        length = headers.get(b"content-length", b"0")
        has_body = length != b"0" or b"transfer-encoding" in headers
        encoding = headers.get(b"content-encoding", b"identity").decode("latin-1")
        if has_body and encoding.lower() != "identity":
            detail = f"Content-Encoding {encoding!r} is not read here; send the body as it is"
            await answer(describe(415, "unsupported-media-type", detail), {"Connection": "close"})(scope, receive, send)
            return
        if not length.isdigit():
            problem = describe(400, "malformed-body", "the Content-Length header is no number")
            await answer(problem, {"Connection": "close"})(scope, receive, send)
            return
        if int(length) > self.limit:
            await answer(describe(413, "too-large", self._message()), {"Connection": "close"})(scope, receive, send)
            return
        seen = 0
        scope.setdefault("state", {})

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            scope["state"]["body_bytes"] = seen
            if seen > self.limit:
                raise HTTPException(413, self._message(), {"Connection": "close"})
            return message

        await self.app(scope, counted, send)

    def _message(self) -> str:
        return f"the body is larger than {self.limit} bytes; send it in several requests"
