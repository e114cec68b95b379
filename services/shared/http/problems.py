"""Errors as RFC 9457 problem+json, the same shape from every endpoint."""

import logging
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.exc import DataError
from starlette.exceptions import HTTPException
from starlette.routing import Match

from llactr_core.errors import GateError, LlactrError, RateError

MEDIA_TYPE = "application/problem+json"
CODES = {
    400: "malformed-body",
    404: "not-found",
    405: "method-not-allowed",
    406: "not-acceptable",
    413: "too-large",
    415: "unsupported-media-type",
}
METHODS = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")
# RFC 9110's words; older Pythons have older ones.
TITLES = {413: "Content Too Large", 422: "Unprocessable Content"}
RETRY_AFTER_S = {429: 5, 503: 1}
RETRY_AFTER = {"description": "Seconds to wait before the call is sent again.", "schema": {"type": "integer"}}

logger = logging.getLogger(__name__)


class Problem(BaseModel):
    """The body of every error answer."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": "urn:llactr:error:not-found",
                    "title": "Not Found",
                    "status": 404,
                    "detail": "there is no schema 'bank'; GET /v1/schemas lists the known ones",
                    "code": "not-found",
                }
            ]
        }
    )

    type: str = Field(description="A URN made of the code.")
    title: str = Field(description="The HTTP status in words.")
    status: int
    detail: str = Field(description="What was given, what is allowed, what to do next.")
    code: str = Field(description="Stable and documented; branch on it.")
    row: int | None = Field(default=None, description="The row of the request that is wrong, counted from 0.")
    field: str | None = Field(default=None, description="The field of the request that is wrong.")
    gate: dict[str, Any] | None = Field(default=None, description="The numbers on which a promotion was refused.")


def describe(status: int, code: str, detail: str, row: int | None = None, field: str | None = None) -> dict[str, Any]:
    """A problem as plain data; `row` and `field` only where they apply."""
    content: dict[str, Any] = {
        "type": f"urn:llactr:error:{code}",
        "title": title_of(status),
        "status": status,
        "detail": _encodable(detail),
        "code": code,
    }
    if row is not None:
        content["row"] = row
    if field is not None:
        content["field"] = _encodable(field)
    return content


def _encodable(text: str) -> str:
    # What a caller sent and a message quotes may hold half a surrogate pair, which no UTF-8 can carry.
    return text.encode("utf-8", "backslashreplace").decode()


def title_of(status: int) -> str:
    """The HTTP status in words."""
    return TITLES.get(status) or HTTPStatus(status).phrase


def problem_of(error: LlactrError) -> dict[str, Any]:
    """The problem that an error of our tree is reported as."""
    problem = describe(error.status, error.code, error.detail, error.row, error.field)
    return problem | {"gate": error.gate} if isinstance(error, GateError) else problem


def answer(content: dict[str, Any], headers: dict[str, str] | None = None) -> JSONResponse:
    """A response that carries a problem."""
    return JSONResponse(content, status_code=content["status"], headers=headers, media_type=MEDIA_TYPE)


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses=` of a route: these statuses answer with a problem."""
    return {
        status: {
            "description": title_of(status),
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
            **({"headers": {"Retry-After": RETRY_AFTER}} if status in RETRY_AFTER_S else {}),
        }
        for status in statuses
    }


def install_problems(app: FastAPI) -> None:
    """Let the app answer every error, also the framework's own, with a problem."""
    for kind, handler in _HANDLERS.items():
        app.add_exception_handler(kind, handler)


def response_to(request: Request, error: Exception) -> JSONResponse | None:
    """The response with which the app answers an error; None for one that nobody expected."""
    for kind, handler in _HANDLERS.items():
        if isinstance(error, kind):
            return handler(request, error)
    return None


def internal_problem() -> dict[str, Any]:
    """What the outside hears of an exception that nobody expected: nothing of its inside."""
    return describe(500, "internal", "an internal error; its traceback is in the service's log under the request id")


def _on_llactr_error(_request: Request, error: Exception) -> JSONResponse:
    known = error if isinstance(error, LlactrError) else LlactrError(str(error))
    if known.status >= 500:
        logger.error("%s: %s", known.code, known.detail)
    headers = {"WWW-Authenticate": "Bearer"} if known.status == 401 else {}
    if known.status in RETRY_AFTER_S:
        known_wait = known.retry_after_s if isinstance(known, RateError) else None
        headers["Retry-After"] = str(known_wait or RETRY_AFTER_S[known.status])
    return answer(problem_of(known), headers)


def _on_validation_error(request: Request, error: Exception) -> JSONResponse:
    first: dict[str, Any] = {"loc": (), "msg": str(error)}
    if isinstance(error, RequestValidationError):
        first = dict(error.errors()[0])
    place = [str(part) for part in first["loc"]]
    if first.get("type") == "json_invalid":
        reason = first.get("ctx", {}).get("error", "syntax error")
        return answer(describe(400, "malformed-body", f"the body is no JSON: {reason}"))
    if isinstance(first.get("input"), bytes):  # the framework leaves a body unparsed that does not call itself JSON
        given = request.headers.get("content-type")
        what = "a body without a Content-Type" if given is None else f"Content-Type {given!r}"
        return answer(describe(415, "unsupported-media-type", f"{what} is not read here; send application/json"))
    field = ".".join(place[1:] if place[:1] == ["body"] else place) or None
    message = f"{field or 'the body'}: {first['msg'].removeprefix('Value error, ')}"
    return answer(describe(422, "invalid-input", message, field=field))


def _on_http_exception(request: Request, error: Exception) -> JSONResponse:
    known = error if isinstance(error, HTTPException) else HTTPException(500, str(error))
    code = CODES.get(known.status_code, "internal" if known.status_code >= 500 else "invalid-input")
    detail = known.detail
    if known.status_code == 400 and detail == "There was an error parsing the body":
        detail = (
            "the body cannot be read as JSON: it is not UTF-8, nested too deeply, or has a number of too many digits"
        )
    if known.status_code == 404 and detail == "Not Found":
        detail = "there is nothing at this path; GET /openapi.json lists what there is"
    if known.status_code == 405 and detail == "Method Not Allowed":
        detail = "the path does not know this method; the Allow header lists those that it knows"
    headers = dict(known.headers or {})
    if known.status_code == 405:
        headers["Allow"] = ", ".join(_methods_of(request))
    return answer(describe(known.status_code, code, detail), headers)


def _methods_of(request: Request) -> list[str]:
    # The framework lists only those of the first route that has the path.
    call = {"type": "http", "path": request.scope["path"], "root_path": request.scope.get("root_path", "")}
    routes = request.app.routes
    return [one for one in METHODS if any(route.matches({**call, "method": one})[0] is Match.FULL for route in routes)]


def _on_data_error(_request: Request, _error: Exception) -> JSONResponse:
    detail = "a text holds a zero byte, or a number is too large for the database; send the call without it"
    return answer(describe(422, "invalid-input", detail))


_HANDLERS: dict[type[Exception], Callable[[Request, Exception], JSONResponse]] = {
    LlactrError: _on_llactr_error,
    RequestValidationError: _on_validation_error,
    HTTPException: _on_http_exception,
    DataError: _on_data_error,
}
