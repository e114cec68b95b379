"""/v1/schemas, in this process."""

import pytest
from starlette.testclient import TestClient

from llactr_core.schema import Schema
from services.llm.settings import LlmSettings
from services.shared.access.auth import ensure_admin_key

FIELDS = [{"name": "a", "description": "first", "kind": "categorical"}, {"name": "b", "kind": "numeric"}]


@pytest.fixture
def client(app: TestClient, settings: LlmSettings) -> TestClient:
    app.headers["Authorization"] = f"Bearer {ensure_admin_key(settings.key_file)}"
    return app


def test_a_schema_is_new_equal_or_a_new_version(client: TestClient) -> None:
    first = client.post("/v1/schemas", json={"name": "s", "fields": FIELDS})
    equal = client.post("/v1/schemas", json={"name": "s", "fields": FIELDS, "label": "click"})
    changed = client.post("/v1/schemas", json={"name": "s", "fields": [{**FIELDS[0], "description": "x"}, FIELDS[1]]})
    back = client.post("/v1/schemas", json={"name": "s", "fields": FIELDS})
    assert [one.status_code for one in (first, equal, changed, back)] == [201, 200, 201, 201]
    assert [one.json()["number"] for one in (first, equal, changed, back)] == [1, 1, 2, 3]
    assert first.json()["fingerprint"] == equal.json()["fingerprint"] == back.json()["fingerprint"]
    assert first.json()["fingerprint"] != changed.json()["fingerprint"]
    assert first.json()["fingerprint"] == Schema.parse({"name": "s", "fields": FIELDS}).semantic_fingerprint
    assert first.headers["location"] == "/v1/schemas/s"


def test_encoding_rules_are_replaced_without_a_new_version(client: TestClient) -> None:
    client.post("/v1/schemas", json={"name": "s", "fields": FIELDS})
    answer = client.post("/v1/schemas", json={"name": "s", "fields": [{**FIELDS[0], "separator": ";"}, FIELDS[1]]})
    assert answer.status_code == 200
    assert client.get("/v1/schemas/s").json()["fields"][0]["separator"] == ";"


def test_the_newest_of_each_name_is_listed(client: TestClient) -> None:
    for name, description in (("b", "x"), ("a", "x"), ("b", "y")):
        client.post("/v1/schemas", json={"name": name, "fields": [{"name": "f", "description": description}]})
    listed = client.get("/v1/schemas").json()["schemas"]
    assert [(one["name"], one["fields"][0]["description"]) for one in listed] == [("a", "x"), ("b", "y")]
    assert client.get("/v1/schemas/b").json() == listed[1]


def test_an_unknown_schema_says_what_to_do(client: TestClient) -> None:
    problem = client.get("/v1/schemas/none").json()
    assert problem["status"] == 404
    assert "POST /v1/schemas" in problem["detail"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": "s", "fields": []}, "fields"),
        ({"name": "a b", "fields": FIELDS}, "name"),
        ({"name": "s", "fields": [{"name": ""}]}, "fields.0.name"),
        ({"name": "s", "fields": [{"name": "a", "kind": "colour"}]}, "fields.0.kind"),
        ({"name": "s", "fields": [{"name": "a", "size": 1}]}, "fields.0.size"),
        ({"name": "s", "fields": [{"name": f"f{i}"} for i in range(257)]}, "fields"),
        ({"fields": FIELDS}, "name"),
    ],
)
def test_bad_schemas_name_the_field(client: TestClient, body: dict[str, object], field: str) -> None:
    answer = client.post("/v1/schemas", json=body)
    assert (answer.status_code, answer.json()["field"]) == (422, field)
    assert answer.headers["content-type"] == "application/problem+json"


def test_what_fields_say_together_is_checked(client: TestClient) -> None:
    answer = client.post("/v1/schemas", json={"name": "s", "fields": [FIELDS[0], FIELDS[0]]})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid-schema")
    assert "unique" in answer.json()["detail"]
