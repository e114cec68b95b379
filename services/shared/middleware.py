"""Two small ASGI middlewares around every request: its id, access log and last resort; and what its body may be."""

import logging
import re
import time
import uuid

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.shared.logs import request_id
from services.shared.problems import answer, describe, internal_problem

CLIENT_GONE = 499  # in the log only: nobody is left to be answered
ACCEPTED_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")

access_log = logging.getLogger("services.access")
logger = logging.getLogger(__name__)


class RequestLog:
    """Gives each request an id (the caller's X-Request-Id if it is plain), logs it, and answers what nobody caught."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = dict(scope["headers"]).get(b"x-request-id", b"")
        name = given.decode() if ACCEPTED_ID.fullmatch(given) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = name
        token = request_id.set(name)
        started = time.perf_counter()
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", name.encode())]
            await send(message)

        try:
            await self.app(scope, receive, send_with_id)
        except ClientDisconnect:
            status = CLIENT_GONE
        except Exception:
            logger.exception("unexpected error")
            if status == 0:
                await answer(internal_problem())(scope, receive, send_with_id)
        finally:
            self._log(scope, status, time.perf_counter() - started)
            request_id.reset(token)

    def _log(self, scope: Scope, status: int, seconds: float) -> None:
        if not access_log.isEnabledFor(logging.INFO):
            return
        facts = {"method": scope["method"], "path": scope["path"], "status": status, "ms": round(seconds * 1000, 2)}
        access_log.info("%s %s %d", scope["method"], scope["path"], status, extra={"facts": facts})


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
        encoding = headers.get(b"content-encoding", b"identity").decode("latin-1")
        if encoding.lower() != "identity":
            detail = f"Content-Encoding {encoding!r} is not read here; send the body as it is"
            await answer(describe(415, "unsupported-media-type", detail), {"Connection": "close"})(scope, receive, send)
            return
        length = headers.get(b"content-length", b"0")
        if not length.isdigit():
            problem = describe(400, "malformed-body", "the Content-Length header is no number")
            await answer(problem, {"Connection": "close"})(scope, receive, send)
            return
        if int(length) > self.limit:
            await answer(describe(413, "too-large", self._message()), {"Connection": "close"})(scope, receive, send)
            return
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self.limit:
                raise HTTPException(413, self._message(), {"Connection": "close"})
            return message

        await self.app(scope, counted, send)

    def _message(self) -> str:
        return f"the body is larger than {self.limit} bytes; send it in several requests"
