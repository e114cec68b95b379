"""Schedules and forced promotion over HTTP: what is shown, what is refused, and to whom."""

from collections.abc import Callable
from typing import Any

import pytest

from services.ctr.settings import CtrSettings
from services.shared.access.auth import KeyStore, Role
from services.shared.jobs.store import JobStore
from services.shared.storage.storage import Storage

PATH = "/v1/admin/models/tiny/schedule"


@pytest.fixture
def semantic(service: Any, registry: Any, tiny: Any, publish: Callable[..., str], bundles: Any) -> Any:
    """The service with a champion of "tiny" that has field semantics."""
    registry.register("tiny", bundles["llactr"].version, tiny.lineage_of(enhancer="llactr"), {})
    publish("llactr", alias="champion")
    return service


def key_of(storage: Storage, settings: CtrSettings, role: Role, scopes: list[str] | None = None) -> dict[str, str]:
    _, key = KeyStore(storage, settings.key_file).create(f"{role.label}-{scopes}", role, scopes)
    return {"Authorization": f"Bearer {key}"}


def test_a_schedule_is_set_shown_and_deleted(semantic: Any) -> None:
    client, admin = semantic.client, semantic.admin
    assert client.get(PATH).status_code == 404
    put = client.put(PATH, json={"every_hours": 24, "request": {"mode": "re-enhance"}}, headers=admin)
    assert put.status_code == 200, put.text
    schedule = put.json()
    assert (schedule["model"], schedule["every_hours"], schedule["on_new_table"]) == ("tiny", 24, False)
    assert (schedule["request"]["mode"], schedule["last_job"], schedule["tried_table"]) == ("re-enhance", None, None)
    assert schedule["next_at"] > schedule["updated_at"]
    assert client.get(PATH).json() == schedule
    assert client.delete(PATH, headers=admin).json() == schedule
    assert client.delete(PATH, headers=admin).status_code == 404


@pytest.mark.parametrize(
    ("body", "status", "word"),
    [
        ({}, 422, "never run"),
        ({"every_hours": None, "on_new_table": False}, 422, "DELETE"),
        ({"every_hours": 0}, 422, "every_hours"),
        ({"every_hours": -1}, 422, "every_hours"),
        ({"every_hours": 1e6}, 422, "every_hours"),
        ({"every_hours": "often"}, 422, "every_hours"),
        ({"every_hours": 1, "request": {"model": "other"}}, 422, "model"),
        ({"every_hours": 1, "request": {"mode": "anew"}}, 422, "mode"),
        ({"every_hours": 1, "request": {"table_version": "current"}}, 422, "table_version"),
        ({"every_hours": 1, "request": {"ssft": {"speed": 1}}}, 422, "speed"),
        ({"every_hours": 1, "request": {"dataset": "/etc"}}, 403, "allowed folders"),
        ({"every_hours": 1, "surprise": 1}, 422, "surprise"),
    ],
)
def test_a_schedule_that_cannot_work_is_refused(semantic: Any, body: Any, status: int, word: str) -> None:
    answer = semantic.client.put(PATH, json=body, headers=semantic.admin)
    assert (answer.status_code, word in answer.json()["detail"]) == (status, True), answer.text
    assert semantic.client.get(PATH).status_code == 404


def test_a_model_that_is_not_there_or_has_no_semantics_gets_none(service: Any, publish: Callable[..., str]) -> None:
    body = {"every_hours": 1}
    assert service.client.put(PATH, json=body, headers=service.admin).status_code == 404
    publish("none", alias="champion")
    answer = service.client.put(PATH, json=body, headers=service.admin)
    assert (answer.status_code, "without field semantics" in answer.json()["detail"]) == (409, True)


def test_who_may_see_and_set_a_schedule(semantic: Any, storage: Storage, settings: CtrSettings) -> None:
    client, body = semantic.client, {"every_hours": 1}
    reader, trainer, other = (
        key_of(storage, settings, role, scopes)
        for role, scopes in ((Role.READER, None), (Role.TRAINER, ["tiny"]), (Role.TRAINER, ["other"]))
    )
    assert client.put(PATH, json=body).status_code == 401
    assert client.put(PATH, json=body, headers=reader).status_code == 403
    assert client.put(PATH, json=body, headers=other).status_code == 403
    assert client.put(PATH, json=body, headers=trainer).status_code == 200
    assert client.get(PATH, headers=reader).status_code == 200
    assert client.get(PATH, headers=other).status_code == 403
    assert client.delete(PATH, headers=reader).status_code == 403
    assert client.delete(PATH, headers=trainer).status_code == 200


def test_force_needs_an_admin(semantic: Any, storage: Storage, settings: CtrSettings, dataset: Any) -> None:
    trainer = key_of(storage, settings, Role.TRAINER)
    calls = [
        ("POST", "/v1/admin/models/tiny/train", {"dataset": str(dataset), "label": "click"}, 202),
        ("POST", "/v1/admin/refresh", {"model": "tiny"}, 202),
    ]
    for method, path, body, status in calls:
        forced = body | {"force": True}
        refused = semantic.client.request(method, path, json=forced, headers=trainer)
        assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
        assert "needs admin" in refused.json()["detail"]
        assert semantic.client.request(method, path, json=body, headers=trainer).status_code == status
        assert semantic.client.request(method, path, json=forced, headers=semantic.admin).status_code == status
    schedule = {"every_hours": 1, "request": {"force": True}}
    assert semantic.client.put(PATH, json=schedule, headers=trainer).status_code == 403
    assert semantic.client.put(PATH, json=schedule, headers=semantic.admin).status_code == 200


def test_the_job_knows_who_asked_for_it(semantic: Any, storage: Storage) -> None:
    job = semantic.client.post("/v1/admin/refresh", headers=semantic.admin).json()["job"]["id"]
    assert JobStore(storage).get(job).payload["by"] == "admin.key"
