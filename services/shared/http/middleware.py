"""Two small ASGI middlewares around every request: what is known of it afterwards, and what its body may be."""

import asyncio
import logging
import time

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.shared.http.problems import RETRY_AFTER_S, answer, describe, internal_problem
from services.shared.http.requests import count, log_request, request_id_of
from services.shared.telemetry import metrics, traces
from services.shared.telemetry.logs import request_id

CLIENT_GONE = 499  # in the log only: nobody is left to be answered

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
        name = request_id_of(headers)
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
            method, route = scope["method"], _route_of(scope)
            count(method, route, out.status, seconds, scope["state"].get("body_bytes", 0), out.bytes)
            is_frequent = scope["state"].get("is_frequent", False)
            log_request(method, scope["path"], out.status, seconds, name, is_frequent=is_frequent)
            if trace is not None:
                trace.end(route, name, out.status)
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
