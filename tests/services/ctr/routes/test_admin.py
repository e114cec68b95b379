"""Reading and changing the registry over HTTP: versions, aliases, jobs, keys."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from services.ctr.app import build_app
from services.ctr.registry.store import Registry
from services.ctr.settings import CtrSettings
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
