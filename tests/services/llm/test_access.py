"""Who may call what: every endpoint of the OpenAPI document, with every role."""

import pytest
from starlette.testclient import TestClient

from services.llm.api import build_app
from services.llm.settings import LlmSettings
from services.shared.keys import KeyStore, Role
from services.shared.storage import Storage

NEEDS = {
    ("get", "/healthz"): None,
    ("get", "/readyz"): None,
    ("post", "/v1/schemas"): Role.TRAINER,
    ("get", "/v1/schemas"): Role.READER,
    ("get", "/v1/schemas/{schema}"): Role.READER,
    ("post", "/v1/admin/fields/{schema}/refresh"): Role.TRAINER,
    ("get", "/v1/fields/{schema}"): Role.READER,
    ("get", "/v1/fields/{schema}/versions"): Role.READER,
    ("get", "/v1/fields/{schema}/versions/{version}"): Role.READER,
    ("get", "/v1/fields/{schema}/similarity"): Role.READER,
    ("put", "/v1/fields/{schema}/aliases/{alias}"): Role.ADMIN,
    ("post", "/v1/embeddings"): Role.READER,
    ("post", "/v1/admin/keys"): Role.ADMIN,
    ("get", "/v1/admin/keys"): Role.ADMIN,
    ("delete", "/v1/admin/keys/{key_id}"): Role.ADMIN,
    ("get", "/v1/jobs"): Role.READER,
    ("get", "/v1/jobs/{job_id}"): Role.READER,
    ("delete", "/v1/jobs/{job_id}"): Role.TRAINER,
    ("get", "/v1/jobs/{job_id}/events"): Role.READER,
}
BODIES = {"post": {}, "put": {}}


def call(client: TestClient, method: str, path: str, key: str | None) -> int:
    where = path.format(schema="s", version="current", alias="current", job_id="x", key_id="x")
    headers = {"Authorization": f"Bearer {key}"} if key is not None else {}
    return client.request(method, where, json=BODIES.get(method), headers=headers).status_code


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
