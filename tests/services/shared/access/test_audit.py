"""Which calls leave an entry, what it says, and what cannot fill the table."""

import logging
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from fastapi import APIRouter, Depends, Response
from starlette.testclient import TestClient

from services.shared.access.audit import REFUSALS_A_MINUTE, AuditEntry, AuditLog, AuditTrail, RefusalLimit
from services.shared.access.audit_routes import audit_router
from services.shared.access.auth import Guard, Role, ensure_admin_key
from services.shared.access.key_routes import key_router
from services.shared.http.app import create_app
from services.shared.settings import ServiceSettings
from services.shared.storage.storage import Storage

ENTRY = AuditEntry("0" * 32, 0.0, "k", "someone", "trainer", "POST", "/x", 200, "r")


@pytest.fixture
def guard(storage: Storage, settings: ServiceSettings) -> Guard:
    return Guard(storage, settings)


@pytest.fixture
def client(storage: Storage, settings: ServiceSettings, guard: Guard) -> Iterator[TestClient]:
    """Calls by the admin key, of an app with keys, the audit, and one route for each of the lower roles."""
    work = APIRouter()

    @work.get("/read", dependencies=[Depends(guard.require(Role.READER))])
    def read() -> str:
        return "read"

    @work.post("/work/{status}", dependencies=[Depends(guard.require(Role.TRAINER))])
    def do(status: int) -> Response:
        return Response(status_code=status)

    log = AuditLog(storage, settings.audit_days)
    app = create_app("test", settings, [work, key_router(guard), audit_router(log, guard)])
    app.add_middleware(AuditTrail, log=log)
    with TestClient(app, headers=bearer(ensure_admin_key(settings.key_file))) as opened:
        yield opened


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def entries(client: TestClient, **query: object) -> list[dict[str, Any]]:
    words = "&".join(f"{name}={value}" for name, value in query.items())
    answer = client.get(f"/v1/admin/audit?{words}")
    assert answer.status_code == 200, answer.text
    return list(answer.json()["entries"])


def test_an_entry_says_who_did_what_and_what_came_of_it(client: TestClient, guard: Guard) -> None:
    made, key = guard.keys.create("ci", Role.TRAINER)
    headers = {**bearer(key), "X-Request-Id": "r-1"}
    client.post("/work/409?token=hidden", headers=headers)
    client.post("/v1/admin/keys", json={"name": "", "role": "admin"})
    rejected, done = entries(client)
    assert (done["key_id"], done["key_name"], done["role"], done["status"]) == (made.id, "ci", "trainer", 409)
    assert (done["method"], done["path"], done["request_id"]) == ("POST", "/work/409", "r-1")
    assert (rejected["key_id"], rejected["role"], rejected["status"]) == ("admin.key", "admin", 422)


def test_refused_calls_are_entries_too_and_reads_are_none(client: TestClient, guard: Guard) -> None:
    reader, key = guard.keys.create("dashboard", Role.READER)
    client.get("/read")
    client.get("/read", headers=bearer("guess"))
    client.post("/work/200", headers=bearer(key))
    client.post("/work/200", headers=bearer("guess"))
    unknown, low = entries(client)
    assert (low["key_id"], low["status"]) == (reader.id, 403)
    assert (unknown["key_id"], unknown["key_name"], unknown["status"]) == (None, None, 401)


def test_a_body_that_is_no_json_is_an_entry_too(client: TestClient) -> None:
    for content, status in ((b'{"name"', 400), (b'{"name": "\\ud800"}', 422)):
        answer = client.post("/v1/admin/keys", content=content, headers={"Content-Type": "application/json"})
        assert answer.status_code == status
        [newest] = entries(client, limit=1)
        assert (newest["path"], newest["status"]) == ("/v1/admin/keys", status)


def test_pages_lead_through_every_entry_once(client: TestClient) -> None:
    for status in range(200, 210):
        client.post(f"/work/{status}")
    seen, before = [], None
    for _ in range(20):
        page = entries(client, limit=3, **({"before": before} if before else {}))
        seen += [entry["status"] for entry in page if entry["role"] == "trainer"]
        if not page:
            break
        before = page[-1]["id"]
    assert seen == list(range(209, 199, -1))
    assert client.get("/v1/admin/audit?before=x").status_code == 422
    assert client.get("/v1/admin/audit?limit=0").status_code == 422


def test_what_a_database_cannot_keep_is_written_another_way(client: TestClient) -> None:
    client.post("/work/200", headers={"X-Request-Id": "r" * 128})
    assert client.delete("/v1/admin/keys/%00").status_code < 500
    client.delete("/v1/admin/keys/" + "x" * 5000)
    long, zero, named = entries(client)
    assert len(long["path"]) == 500
    assert "\\x00" in zero["path"]
    assert named["request_id"] == "r" * 100


def test_guesses_cannot_fill_the_table(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(REFUSALS_A_MINUTE + 20):
        assert client.post("/work/200", headers=bearer("guess")).status_code == 401
    assert len(entries(client, limit=1000)) <= 2 * REFUSALS_A_MINUTE  # the minute may have changed once
    assert client.post("/work/200").status_code == 200
    assert entries(client)[0]["status"] == 200


def test_refusals_are_counted_by_caller_and_minute(caplog: pytest.LogCaptureFixture) -> None:
    limit = RefusalLimit()
    admitted = [limit.admits(None, 60.0 + second / 10) for second in range(100)]
    assert sum(admitted) == REFUSALS_A_MINUTE
    assert limit.admits("a key", 119.0)
    with caplog.at_level(logging.WARNING):
        assert limit.admits(None, 120.0)
    assert "40 refusals of no known key" in caplog.text


def test_entries_go_after_their_time(storage: Storage) -> None:
    log, now = AuditLog(storage, days=400), time.time()
    for number, days in enumerate((500, 401, 399, 0)):
        log.write(replace(ENTRY, id=f"{number:032x}", at=now - days * 86_400))
    log.prune()
    assert [int(entry.id, 16) for entry in log.entries(10)] == [3, 2]
    log.write(replace(ENTRY, id="4" * 32, at=now - 401 * 86_400))
    AuditLog(storage, days=400).write(replace(ENTRY, id="5" * 32, at=now))
    assert [entry.id[0] for entry in log.entries(1)] == ["5"]
    assert len(log.entries(10)) == 3


def test_a_call_is_answered_also_where_its_entry_cannot_be_written(
    client: TestClient, storage: Storage, caplog: pytest.LogCaptureFixture
) -> None:
    client.post("/work/200")
    with storage.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE audit RENAME TO elsewhere")
    with caplog.at_level(logging.ERROR):
        assert client.post("/work/201").status_code == 201
    [record] = [record for record in caplog.records if "audit entry" in record.getMessage()]
    assert record.__dict__["facts"]["path"] == "/work/201"
