"""Experiments, shadows, labels and live quality over HTTP, from the request that is scored to the metric."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from servers import wait_until
from starlette.testclient import TestClient

from services.ctr.app import build_app
from services.ctr.quality.live import LiveComputer, LiveGauges
from services.ctr.registry.store import Registry
from services.ctr.settings import CtrSettings
from services.shared.access.auth import ensure_admin_key
from services.shared.storage.storage import Storage

PLAN = {
    "arms": [{"alias": "champion", "weight": 3}, {"alias": "challenger", "weight": 1}],
    "shadow": {"alias": "challenger", "share": 1.0},
    "log_share": 1.0,
}


@pytest.fixture
def settings(settings: CtrSettings) -> CtrSettings:
    return settings.model_copy(update={"traffic_flush_s": 0.05, "live_every_s": 0.1})


@pytest.fixture
def client(settings: CtrSettings, storage: Storage, publish: Callable[..., str]) -> Iterator[TestClient]:
    """The service with a champion and a challenger of "tiny"; the admin calls."""
    publish("none", alias="challenger")
    publish("llactr", alias="champion")
    key = ensure_admin_key(settings.key_file)
    with TestClient(build_app(settings), raise_server_exceptions=False) as client:
        client.headers["Authorization"] = f"Bearer {key}"
        wait_until(lambda: client.get("/readyz").status_code == 200, 10, "a champion")
        yield client


def score(client: TestClient, rows: list[dict[str, Any]], **query: str) -> dict[str, Any]:
    answer = client.post("/v1/score", json={"rows": rows}, params=query)
    assert answer.status_code == 200, answer.text
    content: dict[str, Any] = answer.json()
    return content


def key_of(client: TestClient, role: str, scopes: list[str] | None = None) -> dict[str, str]:
    made = client.post("/v1/admin/keys", json={"name": role, "role": role, "scopes": scopes})
    return {"Authorization": f"Bearer {made.json()['key']}"}


def quality(client: TestClient, **query: Any) -> dict[str, Any]:
    answer = client.get("/v1/models/tiny/quality", params=query)
    assert answer.status_code == 200, answer.text
    content: dict[str, Any] = answer.json()
    return content


def test_a_plan_is_shown_replaced_and_removed(client: TestClient) -> None:
    alone = {"arms": [{"alias": "champion", "weight": 1.0}], "salt": "", "shadow": None, "log_share": 0.0}
    assert client.get("/v1/models/tiny/traffic").json() == alone
    written = client.put("/v1/admin/models/tiny/traffic", json=PLAN)
    assert written.status_code == 200
    assert [arm["weight"] for arm in written.json()["arms"]] == [0.75, 0.25]
    assert client.get("/v1/models/tiny/traffic").json() == written.json()
    assert client.delete("/v1/admin/models/tiny/traffic").json() == alone
    assert client.get("/v1/models/tiny/traffic").json() == alone


@pytest.mark.parametrize(
    ("path", "body", "status", "word"),
    [
        ("/v1/admin/models/tiny/traffic", {"arms": [{"alias": "rival", "weight": 1}]}, 404, "champion"),
        ("/v1/admin/models/tiny/traffic", {"shadow": {"alias": "rival", "share": 1}}, 404, "rival"),
        ("/v1/admin/models/huge/traffic", {}, 404, "huge"),
        ("/v1/admin/models/tiny/traffic", {"arms": []}, 422, "arms"),
        ("/v1/admin/models/tiny/traffic", {"weights": 1}, 422, "weights"),
        ("/v1/admin/models/tiny/traffic", [1], 422, ""),
    ],
    ids=["alias", "shadow", "model", "no arm", "unknown", "list"],
)
def test_a_wrong_plan_is_refused(client: TestClient, path: str, body: object, status: int, word: str) -> None:
    answer = client.put(path, json=body)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert word in answer.json()["detail"]


def test_a_routing_key_has_one_arm(client: TestClient) -> None:
    client.put("/v1/admin/models/tiny/traffic", json=PLAN)
    versions = client.get("/v1/models").json()["models"][0]["aliases"]
    seen = set()
    for number in range(60):
        first, second = (score(client, [{"job": "student"}], routing_key=f"user-{number}") for _ in range(2))
        assert first["arm"] == second["arm"]
        assert first["model"]["version"] == versions[first["arm"]]
        seen.add(first["arm"])
    assert seen == {"champion", "challenger"}
    pinned = score(client, [{"job": "student"}], model="tiny@champion", routing_key="user-1")
    assert "arm" not in pinned or pinned["arm"] is None


def test_labels_become_live_quality_and_metrics(
    client: TestClient, storage: Storage, registry: Registry, settings: CtrSettings
) -> None:
    client.put("/v1/admin/models/tiny/traffic", json={**PLAN, "arms": [{"alias": "champion", "weight": 1}]})
    jobs = ["student", "technician", "admin", "retired"] * 5
    answers = [
        score(client, [{"job": job, "age": 30, "row_id": f"{i}-a"}, {"job": "student", "row_id": f"{i}-b"}])
        for i, job in enumerate(jobs)
    ]
    for i, (job, answer) in enumerate(zip(jobs, answers, strict=True)):
        label = int(job == "student")
        one = {"request_id": answer["request_id"], "row": 0, "label": label}
        assert client.post("/v1/outcomes", json=one).json() == {"accepted": 1}
        many = {"outcomes": [{"row_id": f"{i}-b", "label": 0}, {"row_id": f"{i}-b", "label": 1, "model": "tiny"}]}
        posted = client.post("/v1/outcomes", json=many)
        assert (posted.status_code, posted.json()) == (202, {"accepted": 2})
    wait_until(lambda: sum(v["rows"] for v in quality(client)["versions"]) == 80, 5, "the log and the shadow's")
    found = quality(client, window_hours=1)
    answered = next(version for version in found["versions"] if not version["shadow"])
    assert answered["version"] == answers[0]["model"]["version"]
    assert (answered["rows"], answered["labelled"]) == (40, 40)
    assert answered["clicks"] in range(5, 26)
    assert answered["auc"] is not None
    assert found["outcomes"]["unmatched"] == 0
    assert quality(client, version="challenger")["versions"][0]["shadow"]
    wait_until(lambda: quality(client)["drift"] != [], 5, "drift counts")
    [drift] = [drift for drift in quality(client)["drift"] if drift["version"] == answered["version"]]
    assert set(drift["fields"]) == {"job", "age", "tags", "city"}
    assert drift["fields"]["tags"] > 0.25  # never given, so always missing
    [pair] = client.get("/v1/models/tiny/shadow").json()["pairs"]
    assert pair["rows"] == 40
    LiveComputer(storage, registry, settings).compute()
    LiveGauges(storage, settings).show()
    page = client.get("/metrics").text
    labels = f'model="tiny",version="{answered["version"]}"'
    assert f"llactr_live_auc{{{labels}}} {answered['auc']}" in page
    assert f"llactr_live_labelled_rows{{{labels}}} 40.0" in page
    assert f'llactr_live_psi{{field="tags",{labels}}}' in page
    assert "llactr_shadow_mean_difference{" in page


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        [],
        {"label": 1},
        {"request_id": "r", "label": 1},
        {"row": 0, "label": 1},
        {"request_id": "r", "row": 0, "row_id": "x", "label": 1},
        {"request_id": "r", "row": 0},
        {"request_id": "r", "row": 0, "label": 2},
        {"request_id": "r", "row": 0, "label": True},
        {"request_id": "r", "row": 0, "label": None},
        {"request_id": "r", "row": -1, "label": 1},
        {"request_id": "r", "row": 2**31, "label": 1},
        {"request_id": "r", "row": 0.5, "label": 1},
        {"row_id": "x" * 201, "label": 1},
        {"row_id": "", "label": 1},
        {"row_id": "x", "label": 1, "clicked": 1},
        {"outcomes": {"row_id": "x", "label": 1}},
        {"outcomes": [{"row_id": "x"}]},
        {"outcomes": [{"row_id": "x", "label": 1}] * 10_001},
    ],
    ids=lambda wrong: str(wrong)[:60],
)
def test_a_wrong_label_is_refused(client: TestClient, wrong: object) -> None:
    answer = client.post("/v1/outcomes", json=wrong)
    assert answer.status_code == 422, answer.text
    assert answer.json()["detail"]


def test_odd_names_are_kept(client: TestClient) -> None:
    odd = [{"row_id": 17, "label": 1}, {"row_id": "a\x00b", "label": 0}, {"request_id": "\x00", "row": 0, "label": 1}]
    assert client.post("/v1/outcomes", json={"outcomes": odd}).json() == {"accepted": 3}
    assert client.post("/v1/outcomes", json={"outcomes": []}).json() == {"accepted": 0}


def test_a_limited_key_labels_only_its_models(client: TestClient) -> None:
    client.put("/v1/admin/models/tiny/traffic", json={"log_share": 1})
    answer = score(client, [{"job": "student"}])
    label = {"request_id": answer["request_id"], "row": 0, "label": 1}
    other, own = key_of(client, "trainer", ["other"]), key_of(client, "trainer", ["tiny"])
    assert client.post("/v1/outcomes", json={**label, "model": "tiny"}, headers=other).status_code == 403
    assert client.post("/v1/outcomes", json=label, headers=other).status_code == 202
    wait_until(lambda: quality(client)["versions"] != [], 5, "the log")
    assert quality(client)["versions"][0]["labelled"] == 0
    assert client.post("/v1/outcomes", json=label, headers=own).status_code == 202
    assert quality(client)["versions"][0]["labelled"] == 1


def test_roles(client: TestClient) -> None:
    reader, trainer = key_of(client, "reader"), key_of(client, "trainer")
    assert client.post("/v1/outcomes", json={"row_id": "x", "label": 1}, headers=reader).status_code == 403
    assert client.post("/v1/outcomes", json={"row_id": "x", "label": 1}, headers=trainer).status_code == 202
    for method in ("PUT", "DELETE"):
        assert client.request(method, "/v1/admin/models/tiny/traffic", json={}, headers=trainer).status_code == 403
    stranger = key_of(client, "reader", ["other"])
    for page in ("traffic", "shadow", "quality"):
        assert client.get(f"/v1/models/tiny/{page}", headers=reader).status_code == 200
        assert client.get(f"/v1/models/tiny/{page}", headers=stranger).status_code == 403
        assert client.get(f"/v1/models/huge/{page}").status_code == 404
        assert client.get(f"/v1/models/tiny/{page}?window_hours=0").status_code == (200 if page == "traffic" else 422)
