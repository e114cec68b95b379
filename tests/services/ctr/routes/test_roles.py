"""Who may call what: every endpoint of the OpenAPI document, with every role, and with keys limited to a model."""

from typing import Any

import pytest
from starlette.testclient import TestClient

from services.ctr.app import build_app
from services.ctr.settings import CtrSettings
from services.shared.access.auth import KeyStore, Role
from services.shared.jobs.store import JobStore
from services.shared.storage.storage import Storage

NEEDS = {
    ("get", "/healthz"): None,
    ("get", "/readyz"): None,
    ("get", "/v2/health/live"): None,
    ("get", "/v2/health/ready"): None,
    ("get", "/metrics"): Role.READER,
    ("post", "/v1/score"): Role.READER,
    ("post", "/v1/explain"): Role.READER,
    ("get", "/v2"): Role.READER,
    ("get", "/v2/models/{model}"): Role.READER,
    ("get", "/v2/models/{model}/ready"): Role.READER,
    ("post", "/v2/models/{model}/infer"): Role.READER,
    ("get", "/v2/models/{model}/versions/{version}"): Role.READER,
    ("get", "/v2/models/{model}/versions/{version}/ready"): Role.READER,
    ("post", "/v2/models/{model}/versions/{version}/infer"): Role.READER,
    ("get", "/v1/models"): Role.READER,
    ("get", "/v1/models/{model}/versions"): Role.READER,
    ("get", "/v1/models/{model}/versions/{version}"): Role.READER,
    ("get", "/v1/models/{model}/history"): Role.READER,
    ("get", "/v1/models/{model}/traffic"): Role.READER,
    ("get", "/v1/models/{model}/shadow"): Role.READER,
    ("get", "/v1/models/{model}/quality"): Role.READER,
    ("get", "/v1/admin/models/{model}/schedule"): Role.READER,
    ("get", "/v1/jobs"): Role.READER,
    ("get", "/v1/jobs/{job_id}"): Role.READER,
    ("get", "/v1/jobs/{job_id}/events"): Role.READER,
    ("delete", "/v1/jobs/{job_id}"): Role.TRAINER,
    ("post", "/v1/outcomes"): Role.TRAINER,
    ("post", "/v1/admin/models/{model}/train"): Role.TRAINER,
    ("get", "/v1/admin/models/{model}/values"): Role.READER,
    ("post", "/v1/admin/models/{model}/values"): Role.TRAINER,
    ("delete", "/v1/admin/models/{model}/values"): Role.TRAINER,
    ("post", "/v1/admin/refresh"): Role.TRAINER,
    ("post", "/v1/admin/prove"): Role.TRAINER,
    ("get", "/v1/admin/jobs/{job_id}/reports/{name}"): Role.TRAINER,
    ("post", "/v1/admin/models/{model}/versions"): Role.TRAINER,
    ("put", "/v1/admin/models/{model}/schedule"): Role.TRAINER,
    ("delete", "/v1/admin/models/{model}/schedule"): Role.TRAINER,
    ("put", "/v1/admin/models/{model}/aliases/{alias}"): Role.ADMIN,
    ("delete", "/v1/admin/models/{model}/aliases/{alias}"): Role.ADMIN,
    ("post", "/v1/admin/models/{model}/rollback"): Role.ADMIN,
    ("delete", "/v1/admin/models/{model}/versions/{version}"): Role.ADMIN,
    ("post", "/v1/admin/models/{model}/prune"): Role.ADMIN,
    ("put", "/v1/admin/models/{model}/traffic"): Role.ADMIN,
    ("delete", "/v1/admin/models/{model}/traffic"): Role.ADMIN,
    ("get", "/v1/admin/keys"): Role.ADMIN,
    ("post", "/v1/admin/keys"): Role.ADMIN,
    ("delete", "/v1/admin/keys/{key_id}"): Role.ADMIN,
    ("get", "/v1/admin/audit"): Role.ADMIN,
}
# What is not about one model: answers with what the key may see, or is open to every key of the role.
FOR_EVERY_MODEL = {("get", "/metrics"), ("get", "/v2"), ("get", "/v1/models"), ("get", "/v1/jobs")}
# What a call needs in its body to be about the model "tiny".
ROWS = {"rows": [{}]}
BODIES: dict[str, Any] = {
    "/v1/score": ROWS,
    "/v1/explain": ROWS,
    "/v1/admin/prove": {"dataset": "nowhere", "label": "click", "model": "tiny"},
    "/v1/outcomes": {"outcomes": [{"model": "tiny", "row_id": "1", "label": 1}]},
}


def call(client: TestClient, method: str, path: str, key: str | None, job_id: str = "x") -> int:
    where = path.format(model="tiny", version="champion", alias="champion", job_id=job_id, key_id="x", name="report.md")
    headers = {"Authorization": f"Bearer {key}"} if key is not None else {}
    body = BODIES.get(path.partition("?")[0], {}) if method in ("post", "put") else None
    return client.request(method, where, json=body, headers=headers).status_code


def test_the_table_has_every_endpoint(service: Any) -> None:
    paths = service.client.get("/openapi.json").json()["paths"]
    assert {(method, path) for path, methods in paths.items() for method in methods} == set(NEEDS)


def test_the_document_says_where_a_key_is_needed_and_how_a_call_is_refused(service: Any) -> None:
    for path, methods in service.client.get("/openapi.json").json()["paths"].items():
        for method, operation in methods.items():
            needed, answers = NEEDS[method, path], operation["responses"]
            assert ("security" in operation) is (needed is not None), (method, path)
            if needed is not None:
                assert {"401", "403"} <= answers.keys(), (method, path)
            if "requestBody" in operation:
                assert {"400", "413", "415", "422"} <= answers.keys(), (method, path)
            for status in {"429", "503"} & answers.keys():
                assert "Retry-After" in answers[status]["headers"], (method, path)


@pytest.mark.parametrize("open_reads", [True, False])
def test_every_endpoint_with_every_role(settings: CtrSettings, storage: Storage, open_reads: bool) -> None:
    store = KeyStore(storage, settings.key_file)
    keys = {role: store.create(role.label, role)[1] for role in Role}
    settings = settings.model_copy(update={"require_key_to_read": not open_reads})
    with TestClient(build_app(settings)) as client:
        for (method, path), needed in NEEDS.items():
            free = needed is None or (needed is Role.READER and open_reads)
            assert (call(client, method, path, None) == 401) is not free, (method, path)
            for held, key in keys.items():
                status = call(client, method, path, key)
                refused = needed is not None and held < needed
                assert (status == 403) is refused, (method, path, held)
                assert status != 401, (method, path, held)
            assert (call(client, method, path, "unknown") == 401) is (needed is not None), (method, path)


def test_a_limited_key_does_nothing_elsewhere(scoring: Any, storage: Storage, settings: CtrSettings) -> None:
    """A key with limits is a reader's or a trainer's: one of an admin is for everything."""
    jobs, keys = JobStore(storage), KeyStore(storage, settings.key_file)
    job = jobs.submit("train", {}, lane="tiny")
    own, other = (keys.create(scope, Role.TRAINER, [scope])[1] for scope in ("tiny", "other"))
    for (method, path), needed in NEEDS.items():
        if needed in (None, Role.ADMIN) or (method, path) in FOR_EVERY_MODEL:
            continue
        assert call(scoring.client, method, path, other, job.id) == 403, (method, path)
        if not path.endswith("/events"):  # which end with the job
            assert call(scoring.client, method, path, own, job.id) not in (401, 403), (method, path)
    assert call(scoring.client, "post", "/v1/score?model=tiny@champion", other) == 403


def test_lists_show_a_limited_key_its_own(scoring: Any, storage: Storage, settings: CtrSettings) -> None:
    JobStore(storage).submit("train", {}, lane="tiny")
    keys = KeyStore(storage, settings.key_file)
    for scope, seen in (("tiny", 1), ("other", 0)):
        headers = {"Authorization": f"Bearer {keys.create(scope, Role.READER, [scope])[1]}"}
        for path, name in (("/v1/models", "models"), ("/v1/jobs", "jobs")):
            assert len(scoring.client.get(path, headers=headers).json()[name]) == seen, (scope, path)
