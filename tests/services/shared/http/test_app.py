"""The frame of an app: health, request ids, body limits, problems, the OpenAPI document."""

import gzip
import json
import logging
from collections.abc import Iterator
from typing import Annotated

import pytest
from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict
from starlette.requests import ClientDisconnect
from starlette.testclient import TestClient

from llactr_core.errors import NoModelError, RateError, RowError, UnavailableError
from services.shared.access.auth import Guard, Role
from services.shared.http.app import create_app
from services.shared.settings import ServiceSettings
from services.shared.storage.storage import Storage

MEDIA = "application/problem+json"


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid")

    count: int
    inner: dict[str, list[int]] = {}


@pytest.fixture
def client(storage: Storage, settings: ServiceSettings) -> Iterator[TestClient]:
    router = APIRouter()
    guard = Guard(storage, settings)
    errors = {
        "row": RowError("a nested value", row=3, field="genre"),
        "no-model": NoModelError("train one"),
        "unavailable": UnavailableError("later"),
        "busy": RateError("1000 jobs wait"),
        "unknown": KeyError("secret"),
        "half": RowError("given: \ud800", field="\ud800"),
        "gone": ClientDisconnect(),
    }

    @router.get("/raise/{name}")
    def fail(name: str) -> None:
        raise errors[name]

    @router.post("/body")
    def body(given: Body, limit: Annotated[int, Query(ge=1)] = 1) -> Body:
        return given

    @router.get("/body")
    def nothing() -> None:
        return None

    @router.get("/admin", dependencies=[Depends(guard.require(Role.ADMIN))])
    def admin() -> None:
        return None

    small = settings.model_copy(update={"max_body_bytes": 2000})
    with TestClient(create_app("test", small, [router])) as opened:
        yield opened


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("row", {"status": 422, "code": "invalid-row", "row": 3, "field": "genre", "detail": "a nested value"}),
        ("no-model", {"status": 409, "code": "no-model", "title": "Conflict"}),
        ("unavailable", {"status": 503, "code": "unavailable"}),
        ("busy", {"status": 429, "code": "too-many-requests"}),
        ("unknown", {"status": 500, "code": "internal"}),
    ],
)
def test_errors_are_problems(client: TestClient, name: str, expected: dict[str, object]) -> None:
    answer = client.get(f"/raise/{name}")
    problem = answer.json()
    assert answer.headers["content-type"] == MEDIA
    assert answer.status_code == expected["status"]
    assert expected.items() <= problem.items()
    assert problem["type"] == f"urn:llactr:error:{expected['code']}"
    assert "secret" not in answer.text
    assert (int(answer.headers.get("retry-after", 0)) > 0) is (answer.status_code in (429, 503))


def test_an_unexpected_error_is_logged_under_its_request(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        client.get("/raise/unknown", headers={"X-Request-Id": "mine"})
    assert any(record.exc_info for record in caplog.records)


@pytest.mark.parametrize(
    ("body", "status", "code", "field"),
    [
        ('{"count": 1', 400, "malformed-body", None),
        ('{"count": "many"}', 422, "invalid-input", "count"),
        ('{"count": 1, "inner": {"a": [1, "x"]}}', 422, "invalid-input", "inner.a.1"),
        ('{"count": 1, "more": 2}', 422, "invalid-input", "more"),
        ("[]", 422, "invalid-input", None),
    ],
)
def test_bodies_are_checked(client: TestClient, body: str, status: int, code: str, field: str | None) -> None:
    answer = client.post("/body", content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["code"], answer.json().get("field")) == (status, code, field)
    assert answer.headers["content-type"] == MEDIA


def test_half_a_surrogate_pair_is_quoted_as_an_escape(client: TestClient) -> None:
    problem = client.get("/raise/half").json()
    assert (problem["detail"], problem["field"]) == ("given: \\ud800", "\\ud800")


@pytest.mark.parametrize("body", [b"[" * 1900, b'"\xff"'])
def test_why_a_body_cannot_be_read_is_said(client: TestClient, body: bytes) -> None:
    answer = client.post("/body", content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed-body")
    assert "nested too deeply" in answer.json()["detail"]


@pytest.mark.parametrize("headers", [{"Content-Type": "text/plain"}, {}])
def test_a_body_that_does_not_call_itself_json_is_415(client: TestClient, headers: dict[str, str]) -> None:
    answer = client.post("/body", content=b'{"count": 1}', headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported-media-type")
    assert "send application/json" in answer.json()["detail"]


def test_a_compressed_body_is_415(client: TestClient) -> None:
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    answer = client.post("/body", content=gzip.compress(b'{"count": 1}'), headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported-media-type")
    assert "'gzip'" in answer.json()["detail"]
    assert client.post("/body", json={"count": 1}, headers={"Content-Encoding": "identity"}).status_code == 200
    assert client.get("/body", headers={"Content-Encoding": "gzip"}).status_code == 200


def test_a_caller_who_hangs_up_is_no_error_of_ours(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), pytest.raises(AssertionError, match="any response"):
        client.get("/raise/gone")
    assert [record.levelname for record in caplog.records if record.name.startswith("services")] == ["INFO"]


def test_parameters_are_checked(client: TestClient) -> None:
    problem = client.post("/body?limit=0", json={"count": 1}).json()
    assert (problem["status"], problem["field"]) == (422, "query.limit")


def test_unknown_paths_and_methods(client: TestClient) -> None:
    missing, wrong = client.get("/nothing"), client.delete("/body")
    assert (missing.status_code, missing.json()["code"]) == (404, "not-found")
    assert (wrong.status_code, wrong.json()["code"]) == (405, "method-not-allowed")
    assert wrong.headers["allow"] == "GET, POST"


def test_a_missing_key_is_asked_for(client: TestClient) -> None:
    answer = client.get("/admin")
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert client.get("/admin", headers={"Authorization": "Basic eDp5"}).status_code == 401


def test_large_bodies_are_refused_before_they_are_read(client: TestClient) -> None:
    answer = client.post("/body", json={"count": 1, "inner": {"a": [1] * 2000}})
    assert (answer.status_code, answer.json()["code"]) == (413, "too-large")
    assert "2000 bytes" in answer.json()["detail"]


def test_large_bodies_are_refused_when_their_length_was_not_told(client: TestClient) -> None:
    read: list[int] = []

    def chunks() -> Iterator[bytes]:
        for number in range(100):
            read.append(number)
            yield b" " * 100

    answer = client.post("/body", content=chunks(), headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (413, "too-large")


def test_a_length_that_is_no_number(client: TestClient) -> None:
    answer = client.post("/body", content=b"{}", headers={"Content-Length": "many"})
    assert answer.status_code == 400


@pytest.mark.parametrize(("given", "kept"), [("abc-1.2:3_x", True), ("a b", False), ("x" * 200, False), ("", False)])
def test_request_ids(client: TestClient, given: str, kept: bool) -> None:
    answer = client.get("/healthz", headers={"X-Request-Id": given})
    assert answer.json() == {"status": "ok"}
    assert (answer.headers["x-request-id"] == given) is kept
    assert len(answer.headers["x-request-id"]) > 5


def test_requests_are_logged(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "services.access"):
        client.get("/healthz?key=secret")
    [record] = [record for record in caplog.records if record.name == "services.access"]
    assert record.__dict__["facts"]["status"] == 200
    assert "secret" not in record.getMessage() + json.dumps(record.__dict__["facts"])


def test_the_document_describes_problems(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    assert "Problem" in document["components"]["schemas"]
    assert "HTTPValidationError" not in document["components"]["schemas"]
    assert list(document["paths"]["/body"]["post"]["responses"]["422"]["content"]) == [MEDIA]


def test_the_document_says_that_every_call_may_find_no_storage(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    without = [path for path, calls in paths.items() for call in calls.values() if "503" not in call["responses"]]
    assert without == ["/healthz"]
