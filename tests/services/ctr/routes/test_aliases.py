"""Moving aliases over HTTP: the gate's answer, damaged bundles, roll back, removal, the history."""

from collections.abc import Callable
from typing import Any

import pytest
from starlette.testclient import TestClient

from services.ctr.app import build_app
from services.ctr.settings import CtrSettings

ALIASES = "/v1/admin/models/tiny/aliases"


def put(service: Any, version: str, alias: str = "champion", **more: Any) -> Any:
    return service.client.put(f"{ALIASES}/{alias}", json={"version": version, **more}, headers=service.admin)


def test_promotion_answers_the_gate_and_the_version_before_and_previous_rolls_back(
    scoring: Any, publish: Callable[..., str]
) -> None:
    old, new = scoring.scorers["llactr"].version, publish("none")
    moved = put(scoring, new).json()
    gate = moved.pop("gate")
    assert moved == {
        "model": "tiny",
        "alias": "champion",
        "version": new,
        "previous": old,
        "reason": gate["reason"],
    }
    assert (gate["passed"], gate["challenger"], gate["champion"]) == (True, new, old)
    assert gate["difference"]["interval"][0] <= gate["difference"]["value"] <= gate["difference"]["interval"][1]
    assert 0 < gate["clicks"] < gate["rows"]
    assert scoring.client.get("/readyz").json()["models"] == [{"name": "tiny", "version": new}]
    back = put(scoring, "previous").json()
    assert (back["version"], back["previous"], back["gate"]) == (old, new, None)
    assert scoring.client.get("/v1/models").json()["models"][0]["aliases"] == {"champion": old, "previous": new}


def test_a_refusal_is_a_problem_with_the_reason_and_the_numbers_and_force_overrules_it(
    settings: CtrSettings, scoring: Any, publish: Callable[..., str]
) -> None:
    champion, version = scoring.scorers["llactr"].version, publish("none")
    strict = settings.model_copy(update={"gate_rule": "proof"})
    with TestClient(build_app(strict)) as client:
        call = {"url": f"{ALIASES}/champion", "headers": scoring.admin}
        refused = client.put(json={"version": version}, **call)
        problem = refused.json()
        assert (refused.status_code, problem["code"]) == (409, "gate-refused")
        assert refused.headers["content-type"] == "application/problem+json"
        assert problem["gate"]["reason"] in problem["detail"]
        assert problem["gate"]["rule"]["kind"] == "proof"
        assert client.get("/v1/models").json()["models"][0]["aliases"] == {"champion": champion}
        forced = client.put(json={"version": version, "force": True}, **call)
        assert (forced.status_code, forced.json()["version"], forced.json()["gate"]) == (200, version, None)
        newest, before, *_ = client.get("/v1/models/tiny/history").json()["decisions"]
    assert (newest["outcome"], newest["by"], before["outcome"]) == ("moved", "admin.key", "refused")
    assert before["gate"] == problem["gate"]


@pytest.mark.parametrize("name", ["weights.safetensors", "manifest.json", "index.npy"])
@pytest.mark.parametrize("damage", ["changed", "truncated", "absent"])
def test_a_damaged_bundle_is_refused_and_the_champion_stays(
    scoring: Any, publish: Callable[..., str], settings: CtrSettings, name: str, damage: str
) -> None:
    champion, version = scoring.scorers["llactr"].version, publish("none")
    file = settings.bundles / version / name
    content = file.read_bytes()
    if damage == "absent":
        file.unlink()
    else:
        half = len(content) // 2
        file.write_bytes(content[:half] + (b"" if damage == "truncated" else b"#" + content[half + 1 :]))
    answer = put(scoring, version, force=True)
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict"), answer.text
    assert "not fit to serve" in answer.json()["detail"]
    assert scoring.client.get("/v1/models").json()["models"][0]["aliases"] == {"champion": champion}
    scored = scoring.client.post("/v1/score", json={"rows": [{"job": "student"}]}).json()
    assert scored["model"]["version"] == champion


def test_what_is_not_there_cannot_be_promoted(scoring: Any) -> None:
    for path, version in (("tiny/aliases/champion", "nothing"), ("nobody/aliases/champion", "v")):
        answer = scoring.client.put(f"/v1/admin/models/{path}", json={"version": version}, headers=scoring.admin)
        assert (answer.status_code, answer.json()["code"]) == (404, "not-found")
    for body in ({}, {"version": ""}, {"version": 7}, {"version": "v" * 129}, {"version": "v", "surprise": 1}):
        assert scoring.client.put(f"{ALIASES}/champion", json=body, headers=scoring.admin).status_code == 422
    assert scoring.client.put(f"{ALIASES}/a:b", json={"version": "v"}, headers=scoring.admin).status_code == 422


def test_roll_back_is_one_call(scoring: Any, publish: Callable[..., str]) -> None:
    def roll_back(model: str = "tiny", leaving: str | None = None) -> Any:
        body = None if leaving is None else {"from": leaving}
        return scoring.client.post(f"/v1/admin/models/{model}/rollback", headers=scoring.admin, json=body)

    old, new = scoring.scorers["llactr"].version, publish("none")
    assert (roll_back().status_code, roll_back("nobody").status_code) == (409, 404)
    put(scoring, new, force=True)
    late = roll_back(leaving=old)
    assert (late.status_code, f"is {new}, not {old}" in late.json()["detail"]) == (409, True)
    back = roll_back(leaving=new).json()
    assert (back["version"], back["previous"]) == (old, new)
    assert scoring.client.post("/v1/score", json={"rows": [{}]}).json()["model"]["version"] == old
    assert "no champion before" in roll_back().json()["detail"]


def test_an_alias_can_be_removed_but_not_the_champion(scoring: Any, publish: Callable[..., str]) -> None:
    def remove(alias: str) -> Any:
        return scoring.client.delete(f"{ALIASES}/{alias}", headers=scoring.admin)

    version = publish("none")
    assert put(scoring, version, "canary").json()["gate"] is None
    assert scoring.client.post("/v1/score?model=tiny@canary", json={"rows": [{}]}).status_code == 200
    assert remove("canary").json()["version"] == version
    assert (remove("canary").status_code, remove("champion").status_code) == (404, 409)
    assert scoring.client.post("/v1/score?model=tiny@canary", json={"rows": [{}]}).status_code == 404


def test_the_history_is_paged(scoring: Any, publish: Callable[..., str]) -> None:
    for alias in ("a", "b", "c"):
        put(scoring, publish("none"), alias)
    first = scoring.client.get("/v1/models/tiny/history?limit=2").json()["decisions"]
    assert [move["alias"] for move in first] == ["c", "b"]
    rest = scoring.client.get(f"/v1/models/tiny/history?before={first[-1]['number']}").json()["decisions"]
    assert [move["alias"] for move in rest] == ["a", "champion"]
    for query, status in (("limit=0", 422), ("limit=x", 422), ("before=0", 422)):
        assert scoring.client.get(f"/v1/models/tiny/history?{query}").status_code == status
    assert scoring.client.get("/v1/models/nobody/history").status_code == 404
