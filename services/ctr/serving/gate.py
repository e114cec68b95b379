"""The ASGI middleware that asks `Admission` about every scoring request, before its key is checked or its body read."""

from collections.abc import Mapping
from typing import Any

from fastapi import Request
from fastapi.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from llactr_core.errors import InputError, OverloadError
from services.ctr.formats.decoding import JSON, MEDIA_TYPES
from services.ctr.formats.oip import HEADER, OCTETS
from services.ctr.serving.admission import Admission, Ticket
from services.shared.http.problems import RETRY_AFTER_S, answer, problem_of
from services.shared.http.requests import KnownRoute

TIMEOUT_HEADER = "X-Timeout-Ms"
LONGEST_MS = 600_000
INFER = "/v2/models/{model}/infer"
SCORE = "/v1/score"
PATHS = frozenset({SCORE, "/v1/explain"})
TIMEOUT_PARAMETER: dict[str, Any] = {
    "name": TIMEOUT_HEADER,
    "in": "header",
    "required": False,
    "description": "Milliseconds that the caller still waits, 1 to 600000. Where they pass before the answer, that is "
    "504 and the work is dropped; where a longer wait is expected, the call is refused at once with 503.",
    "schema": {"type": "integer", "minimum": 1, "maximum": LONGEST_MS},
    "example": 250,
}
_LENGTH, _TIMEOUT, _CHUNKED = b"content-length", TIMEOUT_HEADER.lower().encode(), b"transfer-encoding"
_TYPE, _BINARY = b"content-type", HEADER.lower().encode()


class AdmissionGate:
    """Lets a scoring request in with a `Ticket` in its state, or answers 503 with Retry-After."""

    def __init__(self, app: ASGIApp, admission: Admission) -> None:
        self.app = app
        self._admission = admission

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or not _is_scoring(scope):
            await self.app(scope, receive, send)
            return
        scope["state"]["is_frequent"] = scope["path"] == SCORE
        headers = dict(scope["headers"])
        length = headers.get(_LENGTH, b"0")
        try:
            size = int(length) if length.isdigit() else 0
            ticket = self._admission.enter(size, timeout_of(headers), form_of(scope["path"], headers))
        except OverloadError as error:
            scope["route"] = KnownRoute(_template(scope["path"]))  # for the metrics
            await refusal(error)(scope, receive, send)
            return
        except InputError as error:
            await answer(problem_of(error))(scope, receive, send)
            return
        scope["state"]["ticket"] = ticket
        try:
            await self.app(scope, self._counted(receive, ticket) if _CHUNKED in headers else receive, send)
        finally:
            self._admission.leave(ticket)

    def _counted(self, receive: Receive, ticket: Ticket) -> Receive:
        async def counted() -> Message:
            message = await receive()
            self._admission.grow(ticket, len(message.get("body", b"")))
            return message

        return counted


def refusal(error: OverloadError) -> JSONResponse:
    """The answer to a request that is not let in."""
    return answer(problem_of(error), {"Retry-After": str(RETRY_AFTER_S[error.status])})


def ticket_of(request: Request) -> Ticket:
    """The ticket with which the gate let this request in."""
    ticket: Ticket = request.state.ticket
    return ticket


def _template(path: str) -> str:
    return path if path in PATHS else INFER


def _is_scoring(scope: Scope) -> bool:
    path: str = scope["path"]
    return scope["method"] == "POST" and (path in PATHS or (path.startswith("/v2/") and path.endswith("/infer")))


def form_of(path: str, headers: Mapping[bytes, bytes]) -> str:
    """What the body is: tensors as JSON or as bytes, or one of the media types that rows come in."""
    if path not in PATHS:
        return f"{INFER} {OCTETS}" if _BINARY in headers else INFER
    media = headers.get(_TYPE, b"").partition(b";")[0].strip().lower().decode("latin-1")
    return media if media in MEDIA_TYPES else JSON


def timeout_of(headers: Mapping[bytes, bytes]) -> float | None:
    """Seconds that the caller waits; None where he does not say.

    Raises:
        InputError: what he says is not understood.
    """
    given = headers.get(_TIMEOUT)
    if given is None:
        return None
    if not (given.isdigit() and len(given) <= 6 and 1 <= int(given) <= LONGEST_MS):
        shown = given[:40].decode("latin-1")
        raise InputError(
            f"{TIMEOUT_HEADER} is {shown!r}; give whole milliseconds from 1 to {LONGEST_MS}, or leave it out",
            field=TIMEOUT_HEADER,
        )
    return int(given) / 1000
