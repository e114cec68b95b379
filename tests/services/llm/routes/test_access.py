"""Who may call what: every endpoint of the OpenAPI document, with every role, and with keys limited to a schema."""

from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from llactr_core.schema import Schema
from services.llm.app import build_app
from services.llm.schema_store import SchemaStore
from services.llm.settings import LlmSettings
from services.shared.access.keys import KeyStore, Role
from services.shared.jobs.store import JobStore
from services.shared.storage.storage import Storage

NEEDS = {
    ("get", "/healthz"): None,
    ("get", "/readyz"): None,
    ("get", "/metrics"): Role.READER,
    ("post", "/v1/schemas"): Role.TRAINER,
    ("get", "/v1/schemas"): Role.READER,
    ("get", "/v1/schemas/{schema}"): Role.READER,
    ("post", "/v1/admin/fields/{schema}/refresh"): Role.TRAINER,
    ("get", "/v1/fields/{schema}"): Role.READER,
    ("get", "/v1/fields/{schema}/versions"): Role.READER,
    ("get", "/v1/fields/{schema}/versions/{version}"): Role.READER,
    ("delete", "/v1/fields/{schema}/versions/{version}"): Role.ADMIN,
    ("get", "/v1/fields/{schema}/similarity"): Role.READER,
    ("get", "/v1/fields/{schema}/compare"): Role.READER,
    ("post", "/v1/admin/fields/{schema}/prune"): Role.ADMIN,
    ("put", "/v1/fields/{schema}/aliases/{alias}"): Role.ADMIN,
    ("delete", "/v1/fields/{schema}/aliases/{alias}"): Role.ADMIN,
    ("post", "/v1/embeddings"): Role.READER,
    ("post", "/v1/admin/keys"): Role.ADMIN,
    ("get", "/v1/admin/keys"): Role.ADMIN,
    ("delete", "/v1/admin/keys/{key_id}"): Role.ADMIN,
    ("get", "/v1/admin/audit"): Role.ADMIN,
    ("get", "/v1/jobs"): Role.READER,
    ("get", "/v1/jobs/{job_id}"): Role.READER,
    ("delete", "/v1/jobs/{job_id}"): Role.TRAINER,
    ("get", "/v1/jobs/{job_id}/events"): Role.READER,
}
# What is not about one schema: answers with what the key may see, or is open to every key of the role.
FOR_EVERY_SCHEMA = {("get", "/metrics"), ("get", "/v1/schemas"), ("get", "/v1/jobs"), ("post", "/v1/embeddings")}
SCHEMA = {"name": "s", "fields": [{"name": "a"}]}


def call(client: TestClient, method: str, path: str, key: str | None, job_id: str = "x") -> int:
    where = path.format(schema="s", version="current", alias="current", job_id=job_id, key_id="x")
    headers = {"Authorization": f"Bearer {key}"} if key is not None else {}
    body = SCHEMA if path == "/v1/schemas" else {}
    return client.request(method, where, json=body if method in ("post", "put") else None, headers=headers).status_code


def test_the_table_has_every_endpoint(app: TestClient) -> None:
    paths = app.get("/openapi.json").json()["paths"]
    assert {(method, path) for path, methods in paths.items() for method in methods} == set(NEEDS)


def test_the_document_says_where_a_key_is_needed(app: TestClient) -> None:
    paths = app.get("/openapi.json").json()["paths"]
    for (method, path), role in NEEDS.items():
        assert ("security" in paths[path][method]) is (role is not None), path


@pytest.mark.parametrize("open_reads", [True, False])
def test_every_endpoint_with_every_role(settings: LlmSettings, open_reads: bool) -> None:
    settings = settings.model_copy(update={"require_key_to_read": not open_reads})
    with TestClient(build_app(settings)) as client:
        store = KeyStore(Storage(settings.storage_url), settings.key_file)
        keys = {role: store.create(role.label, role)[1] for role in Role}
        for (method, path), needed in NEEDS.items():
            free = needed is None or (needed is Role.READER and open_reads)
            assert (call(client, method, path, None) == 401) is not free, (method, path)
            for held, key in keys.items():
                refused = call(client, method, path, key) == 403
                assert refused is (needed is not None and held < needed), (method, path, held)
            if needed is not None:
                assert call(client, method, path, "unknown") == 401
        store.storage.close()


@pytest.fixture
def storage(settings: LlmSettings, app: TestClient) -> Iterator[Storage]:
    opened = Storage(settings.storage_url)
    yield opened
    opened.close()


def test_a_limited_key_does_nothing_elsewhere(app: TestClient, storage: Storage, settings: LlmSettings) -> None:
    jobs, keys = JobStore(storage), KeyStore(storage, settings.key_file)
    for role in (Role.READER, Role.TRAINER):
        job = jobs.submit("refresh", {"for": role.label}, lane="s")
        own, other = (keys.create(role.label, role, [scope])[1] for scope in ("s", "other"))
        for (method, path), needed in NEEDS.items():
            if needed is None or needed > role or (method, path) in FOR_EVERY_SCHEMA:
                continue
            assert call(app, method, path, other, job.id) == 403, (method, path)
            if not path.endswith("/events"):  # which end with the job
                assert call(app, method, path, own, job.id) not in (401, 403), (method, path)


def test_lists_show_a_limited_key_its_own(app: TestClient, storage: Storage, settings: LlmSettings) -> None:
    schemas, jobs, keys = SchemaStore(storage), JobStore(storage), KeyStore(storage, settings.key_file)
    for name in ("mine", "theirs"):
        schemas.register(Schema.parse({**SCHEMA, "name": name}))
        for number in range(3):
            jobs.submit("refresh", {"for": name, "number": number}, lane=name)
    _, key = keys.create("limited", Role.READER, ["mine", "nothing"])
    headers = {"Authorization": f"Bearer {key}"}
    assert [one["name"] for one in app.get("/v1/schemas", headers=headers).json()["schemas"]] == ["mine"]
    seen = [job["id"] for job in app.get("/v1/jobs?limit=5", headers=headers).json()["jobs"]]
    assert {jobs.get(job_id).lane for job_id in seen} == {"mine"}
    assert len(seen) == 3
    assert len(app.get("/v1/schemas").json()["schemas"]) == 2
    assert len(app.get("/v1/jobs").json()["jobs"]) == 6


def test_every_answer_of_a_limit_is_documented(app: TestClient) -> None:
    for path, methods in app.get("/openapi.json").json()["paths"].items():
        for method, operation in methods.items():
            answers = operation["responses"]
            if NEEDS[method, path] is not None:
                assert {"401", "403"} <= answers.keys(), (method, path)
            if "requestBody" in operation:
                assert {"400", "413", "415", "422"} <= answers.keys(), (method, path)
            for status in {"429", "503"} & answers.keys():
                assert "Retry-After" in answers[status]["headers"], (method, path)
