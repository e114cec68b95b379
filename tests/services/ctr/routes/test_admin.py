"""Reading and changing the registry over HTTP: versions, aliases, jobs, keys."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from services.ctr.api import build_app
from services.ctr.registry.store import Registry
from services.ctr.settings import CtrSettings
from services.shared.access.auth import KeyStore, Role
from services.shared.jobs.store import JobStore
from services.shared.storage.storage import Storage


def test_models_and_versions_show_lineage_metrics_and_aliases(scoring: Any, publish: Callable[..., str]) -> None:
    champion, other = scoring.scorers["llactr"].version, publish("none")
    models = scoring.client.get("/v1/models").json()
    assert models == {"models": [{"name": "tiny", "aliases": {"champion": champion}, "versions": [other, champion]}]}
    versions = scoring.client.get("/v1/models/tiny/versions").json()["versions"]
    assert [(v["version"], v["aliases"]) for v in versions] == [(other, []), (champion, ["champion"])]
    assert versions[0]["lineage"]["data_schema"]["label"] == "click"
    assert 0 < versions[0]["metrics"]["valid"]["auc"] < 1
    assert scoring.client.get("/v1/models/tiny/versions/champion").json()["version"] == champion
    for path in ("/v1/models/nobody/versions", "/v1/models/tiny/versions/nothing"):
        answer = scoring.client.get(path)
        assert (answer.status_code, answer.json()["code"]) == (404, "not-found")


def train(service: Any, body: dict[str, Any], model: str = "tiny", **headers: str) -> Any:
    return service.client.post(f"/v1/admin/models/{model}/train", json=body, headers=service.admin | headers)


def test_training_is_a_job_and_an_idempotency_key_makes_one_of_two_calls(
    service: Any, dataset: Path, tiny: Any
) -> None:
    body = {"dataset": str(dataset), "schema": tiny.schema.model_dump(mode="json"), "backbone": "fm"}
    first = train(service, body, **{"Idempotency-Key": "k1"})
    assert first.status_code == 202
    assert first.json()["job"]["state"] == "queued"
    assert train(service, body, **{"Idempotency-Key": "k1"}).json() == first.json()
    assert train(service, body | {"backbone": "fwfm"}, **{"Idempotency-Key": "k1"}).status_code == 409
    assert train(service, body).json() != first.json()
    assert train(service, body, model="other", **{"Idempotency-Key": "k1"}).json() != first.json()
    dataset.rename(dataset.with_name("moved"))
    assert train(service, body, **{"Idempotency-Key": "k1"}).json() == first.json()
    dataset.with_name("moved").rename(dataset)
    job = service.client.get(f"/v1/jobs/{first.json()['job']['id']}").json()
    assert (job["kind"], job["state"]) == ("train", "queued")


@pytest.mark.parametrize(
    ("change", "status", "word"),
    [
        ({"dataset": "/etc/passwd"}, 403, "allowed folders"),
        ({"dataset": "nowhere.parquet"}, 404, "nowhere"),
        ({"dataset": "s3://bucket/data"}, 403, "allowed folders"),
        ({"label": None}, 422, "label"),
        ({"label": "click", "schema": {"name": "x", "fields": []}}, 422, "fields"),
        ({"label": "a", "schema": {"name": "x", "label": "b", "fields": [{"name": "c"}]}}, 422, "give one"),
        ({"enhancer": "magic"}, 422, "enhancer"),
        ({"backbone": "magic"}, 422, "deepfm"),
        ({"options": {"backbone": "fm"}}, 422, "beside"),
        ({"surprise": 1}, 422, "surprise"),
    ],
)
def test_a_training_call_that_cannot_work_is_refused_at_once(
    service: Any, dataset: Path, change: dict[str, Any], status: int, word: str
) -> None:
    answer = train(service, {"dataset": str(dataset), "label": "click"} | change)
    assert answer.status_code == status, answer.text
    assert word in answer.json()["detail"]


def test_a_model_name_is_checked(service: Any, dataset: Path) -> None:
    assert train(service, {"dataset": str(dataset), "label": "click"}, model="a:b").status_code == 422


def test_refresh_needs_a_champion_with_field_semantics(
    service: Any, publish: Callable[..., str], dataset: Path
) -> None:
    def refresh(**content: Any) -> Any:
        return service.client.post("/v1/admin/refresh", headers=service.admin, **content)

    assert (refresh().status_code, refresh().json()["code"]) == (409, "no-model")
    publish("none", alias="champion")
    assert "without field semantics" in refresh(json={"model": "tiny"}).json()["detail"]
    assert refresh(json={"model": "nobody"}).status_code == 404
    assert refresh(json={"options": {"enhancer": "none"}}).status_code == 422


def test_refresh_without_a_body_is_a_job_on_the_only_champion(
    service: Any, registry: Any, tiny: Any, publish: Callable[..., str], bundles: Any
) -> None:
    version = bundles["llactr"].version
    registry.register("tiny", version, tiny.lineage_of(enhancer="llactr"), {})
    publish("llactr", alias="champion")
    answer = service.client.post("/v1/admin/refresh", headers=service.admin)
    assert answer.status_code == 202, answer.text
    assert service.client.get(f"/v1/jobs/{answer.json()['job']['id']}").json()["kind"] == "refresh"
    for change, word in (
        ({"ssft": {"speed": 1}}, "speed"),
        ({"ssft": {"learning_rate": -1}}, "learning_rate"),
        ({"options": {"epochs": "many"}}, "epochs"),
        ({"options": {"backbone": "magic"}}, "deepfm"),
    ):
        refused = service.client.post("/v1/admin/refresh", json=change, headers=service.admin)
        assert (refused.status_code, word in refused.json()["detail"]) == (422, True), refused.text


def test_who_reads_that_a_job_succeeded_is_scored_by_what_it_promoted(
    settings: CtrSettings, storage: Storage, registry: Registry, publish: Callable[..., str]
) -> None:
    slow = settings.model_copy(update={"poll_s": 60.0})
    with TestClient(build_app(slow)) as client:
        assert client.get("/readyz").status_code == 503
        store = JobStore(storage)
        job = store.submit("train", {})
        version = publish("none", alias="champion")
        store.succeed(job.id, {})
        assert client.get(f"/v1/jobs/{job.id}").json()["state"] == "succeeded"
        assert client.post("/v1/score", json={"rows": [{}]}).json()["model"]["version"] == version


CALLS = [
    ("POST", "/v1/score", Role.READER),
    ("GET", "/v1/models", Role.READER),
    ("GET", "/v1/models/tiny/versions", Role.READER),
    ("GET", "/v1/models/tiny/history", Role.READER),
    ("GET", "/v1/jobs", Role.READER),
    ("GET", "/v1/jobs/x", Role.READER),
    ("DELETE", "/v1/jobs/x", Role.TRAINER),
    ("POST", "/v1/admin/models/tiny/train", Role.TRAINER),
    ("POST", "/v1/admin/refresh", Role.TRAINER),
    ("PUT", "/v1/admin/models/tiny/schedule", Role.TRAINER),
    ("GET", "/v1/admin/models/tiny/schedule", Role.READER),
    ("DELETE", "/v1/admin/models/tiny/schedule", Role.TRAINER),
    ("PUT", "/v1/admin/models/tiny/aliases/champion", Role.ADMIN),
    ("DELETE", "/v1/admin/models/tiny/aliases/champion", Role.ADMIN),
    ("POST", "/v1/admin/models/tiny/rollback", Role.ADMIN),
    ("POST", "/v1/admin/models/tiny/versions", Role.TRAINER),
    ("DELETE", "/v1/admin/models/tiny/versions/0a1b", Role.ADMIN),
    ("POST", "/v1/admin/models/tiny/prune", Role.ADMIN),
    ("GET", "/v1/admin/keys", Role.ADMIN),
    ("POST", "/v1/admin/keys", Role.ADMIN),
    ("DELETE", "/v1/admin/keys/7", Role.ADMIN),
    ("GET", "/v1/admin/audit", Role.ADMIN),
    ("GET", "/metrics", Role.READER),
]


@pytest.mark.parametrize(("method", "path", "needed"), CALLS)
def test_who_may_call_what(
    service: Any, storage: Storage, settings: CtrSettings, method: str, path: str, needed: Role
) -> None:
    keys = KeyStore(storage, settings.key_file)
    held: dict[str, tuple[str | None, Role | None]] = {"none": (None, None), "unknown": ("wrong", None)}
    held |= {role.label: (keys.create(role.label, role)[1], role) for role in Role}
    for key, role in held.values():
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        status = service.client.request(method, path, headers=headers, json={}).status_code
        if role is None and (key is not None or needed > Role.READER):
            assert status == 401
        elif role is not None and role < needed:
            assert status == 403
        else:
            assert status not in (401, 403)


def test_a_key_limited_to_a_model_does_nothing_with_another(
    scoring: Any, storage: Storage, settings: CtrSettings, dataset: Path
) -> None:
    keys = KeyStore(storage, settings.key_file)
    job = JobStore(storage).submit("train", {}, lane="tiny")
    calls = [
        ("POST", "/v1/score", {"rows": [{}]}),
        ("POST", "/v1/score?model=tiny@champion", {"rows": [{}]}),
        ("GET", "/v1/models/tiny/versions", None),
        ("GET", "/v1/models/tiny/versions/champion", None),
        ("POST", "/v1/admin/models/tiny/train", {"dataset": str(dataset), "label": "click"}),
        ("POST", "/v1/admin/refresh", {}),
        ("GET", f"/v1/jobs/{job.id}", None),
        ("DELETE", f"/v1/jobs/{job.id}", None),
    ]
    for scope, answers in (("other", {403}), ("tiny", {200, 202, 409})):  # 409: a champion without semantics
        _, key = keys.create(scope, Role.TRAINER, [scope])
        headers = {"Authorization": f"Bearer {key}"}
        for method, path, body in calls:
            answer = scoring.client.request(method, path, headers=headers, json=body)
            assert answer.status_code in answers, (scope, path, answer.text)
        models = scoring.client.get("/v1/models", headers=headers).json()["models"]
        jobs = scoring.client.get("/v1/jobs", headers=headers).json()["jobs"]
        assert (len(models), len(jobs)) == ((1, 2) if scope == "tiny" else (0, 0))


def test_every_route_is_in_the_table_above(service: Any) -> None:
    paths = service.client.get("/openapi.json").json()["paths"]
    routes = {(method.upper(), path) for path, methods in paths.items() for method in methods}
    named = {
        (
            method,
            path.replace("/tiny/", "/{model}/")
            .replace("/x", "/{job_id}")
            .replace("/champion", "/{alias}")
            .replace("/0a1b", "/{version}")
            .replace("/7", "/{key_id}"),
        )
        for method, path, _ in CALLS
    }
    open_to_all = {("GET", "/healthz"), ("GET", "/readyz")}
    like_others = {("GET", "/v1/models/{model}/versions/{version}"), ("GET", "/v1/jobs/{job_id}/events")}
    assert routes == named | open_to_all | like_others


def test_every_operation_documents_how_it_refuses(service: Any) -> None:
    for path, operations in service.client.get("/openapi.json").json()["paths"].items():
        for method, operation in operations.items():
            if path.startswith("/v1/"):
                refusals = {"401", "403"} | ({"400", "413", "415", "422"} if "requestBody" in operation else set())
                assert refusals <= operation["responses"].keys(), (method, path)
