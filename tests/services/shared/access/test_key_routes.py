from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from services.shared.access.auth import Guard, ensure_admin_key
from services.shared.access.key_routes import key_router
from services.shared.access.keys import digest_of
from services.shared.http.app import create_app
from services.shared.settings import ServiceSettings
from services.shared.storage.storage import Storage


@pytest.fixture
def client(storage: Storage, settings: ServiceSettings) -> Iterator[TestClient]:
    app = create_app("test", settings, [key_router(Guard(storage, settings))])
    with TestClient(app, headers={"Authorization": f"Bearer {ensure_admin_key(settings.key_file)}"}) as opened:
        yield opened


def test_a_key_is_made_shown_once_used_and_revoked(client: TestClient) -> None:
    made = client.post("/v1/admin/keys", json={"name": "ci", "role": "admin"})
    assert made.status_code == 201
    headers = {"Authorization": f"Bearer {made.json()['key']}"}
    [listed] = client.get("/v1/admin/keys", headers=headers).json()["keys"]
    assert listed == {name: value for name, value in made.json().items() if name != "key"}
    revoked = client.delete(f"/v1/admin/keys/{listed['id']}").json()
    assert revoked["revoked_at"] is not None
    assert client.get("/v1/admin/keys", headers=headers).status_code == 401
    assert client.delete("/v1/admin/keys/none").status_code == 404


def test_a_key_that_its_maker_keeps_is_never_sent(client: TestClient) -> None:
    body = {"name": "ci", "role": "trainer", "scopes": ["movies"], "digest": digest_of("mine")}
    made = client.post("/v1/admin/keys", json=body)
    assert (made.status_code, made.json()["key"], made.json()["scopes"]) == (201, None, ["movies"])
    assert client.post("/v1/admin/keys", json=body).json()["id"] == made.json()["id"]
    assert client.post("/v1/admin/keys", json={**body, "scopes": None}).status_code == 409
    assert client.get("/v1/admin/keys", headers={"Authorization": "Bearer mine"}).status_code == 403


@pytest.mark.parametrize(
    "body",
    [
        {"name": "", "role": "admin"},
        {"name": "x", "role": "king"},
        {"name": "x"},
        {"name": "x", "role": "admin", "scopes": ["movies"]},
        {"name": "x\x00", "role": "reader"},
        {"name": "x", "role": "reader", "scopes": []},
        {"name": "x", "role": "reader", "digest": "short"},
    ],
)
def test_bad_keys(client: TestClient, body: dict[str, object]) -> None:
    assert client.post("/v1/admin/keys", json=body).status_code == 422


def test_lower_roles_make_no_keys(client: TestClient) -> None:
    key = client.post("/v1/admin/keys", json={"name": "ci", "role": "trainer"}).json()["key"]
    answer = client.post(
        "/v1/admin/keys", json={"name": "me", "role": "admin"}, headers={"Authorization": f"Bearer {key}"}
    )
    assert answer.status_code == 403
