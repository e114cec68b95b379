"""The commands that are calls of the services."""

import json
import socket
from pathlib import Path
from typing import Any

import pytest
from shop import SHOP

from services.cli.main import run

DONE = {"id": "j1", "kind": "train", "state": "succeeded", "progress": 1.0, "result": {"version": "v2", "metrics": {}}}
VERSIONS = {
    "versions": [
        {
            "version": "v2",
            "created_at": "2026",
            "aliases": ["champion"],
            "lineage": {"backbone": "deepfm", "enhancer": "llactr"},
            "metrics": {"valid": {"auc": 0.75}},
        }
    ]
}


def last_line(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_models(service: Any, capsys: pytest.CaptureFixture[str]) -> None:
    service.answers = {
        "GET /v1/models": (200, {"models": [{"name": "shop", "aliases": {"champion": "v2"}, "versions": ["v2"]}]}),
        "GET /v1/models/shop/versions": (200, VERSIONS),
        "PUT /v1/admin/models/shop/aliases/champion": (200, {"alias": "champion", "version": "v1", "previous": "v2"}),
    }
    assert run(["models", "list", "--json"]) == 0
    assert last_line(capsys)["models"][0]["aliases"] == {"champion": "v2"}
    assert run(["models", "versions", "shop"]) == 0
    assert "deepfm + llactr" in (out := capsys.readouterr().out)
    assert "0.7500" in out
    assert run(["models", "promote", "shop", "v1", "--json"]) == 0
    assert last_line(capsys)["previous"] == "v2"
    assert service.asked[-1][2] == {"version": "v1", "force": False}
    assert service.asked[-1][1]["Authorization"] == "Bearer secret"


def test_moves_and_old_versions(service: Any, capsys: pytest.CaptureFixture[str]) -> None:
    move = {"number": 7, "alias": "champion", "version": "v1", "outcome": "refused", "reason": "AUC -0.1", "at": "2026"}
    service.answers = {
        "POST /v1/admin/models/shop/rollback": (200, {"alias": "champion", "version": "v1", "previous": "v2"}),
        "GET /v1/models/shop/history?limit=5": (200, {"decisions": [move]}),
        "POST /v1/admin/models/shop/prune": (200, {"versions": ["v0"], "dry_run": True}),
    }
    assert run(["models", "rollback", "shop"]) == 0
    assert "champion -> v1 (before: v2)" in capsys.readouterr().out
    assert run(["models", "history", "shop", "--limit", "5"]) == 0
    shown = capsys.readouterr().out
    assert "refused" in shown
    assert "AUC -0.1" in shown
    assert run(["models", "prune", "shop", "--dry-run", "--json"]) == 0
    assert last_line(capsys) == {"versions": ["v0"], "dry_run": True}
    assert service.asked[-1][2] == {"dry_run": True}


def test_values(service: Any, capsys: pytest.CaptureFixture[str]) -> None:
    path = "/v1/admin/models/shop/values"
    stands = {"model": "shop", "version": "v1", "overlay": "d1", "rows": 1}
    one = {"number": 1, "field": "colour", "value": "mauve", "source": "admin", "at": "2026-01-01T00:00:00Z"}
    service.answers = {
        f"POST {path}": (
            200,
            stands | {"fields": {"colour": {"added": ["mauve"], "known": [], "refused": {"x": "why"}}}},
        ),
        f"GET {path}?version=v1&limit=5&after=0": (200, stands | {"values": [one]}),
        f"DELETE {path}?version=champion": (200, {"dropped": 1}),
    }
    assert run(["models", "values", "add", "shop", "--value", "colour=mauve", "--value", "colour=x=y"]) == 0
    assert "refused: why" in capsys.readouterr().out
    assert service.asked[-1][2] == {"version": "champion", "values": {"colour": ["mauve", "x=y"]}}
    assert run(["models", "values", "list", "shop", "--version", "v1", "--limit", "5", "--json"]) == 0
    assert last_line(capsys)["values"] == [one]
    assert run(["models", "values", "drop", "shop"]) == 0
    assert "1 values dropped" in capsys.readouterr().out
    assert run(["models", "values", "add", "shop", "--value", "colour"]) == 2
    assert "FIELD=VALUE" in capsys.readouterr().err


def test_traffic(service: Any, capsys: pytest.CaptureFixture[str]) -> None:
    plan = {"arms": [{"alias": "champion", "weight": 1}], "salt": "s", "shadow": None, "log_share": 0.1}
    service.answers = {
        "GET /v1/models/shop/traffic": (200, plan),
        "PUT /v1/admin/models/shop/traffic": (200, {**plan, "shadow": {"alias": "challenger", "share": 0.2}}),
    }
    assert run(["models", "traffic", "show", "shop", "--json"]) == 0
    assert last_line(capsys)["arms"] == {"champion": 1.0}
    arms = ["--arm", "champion=0.9", "--arm", "challenger=0.1"]
    assert run(["models", "traffic", "set", "shop", *arms, "--shadow", "challenger=0.2"]) == 0
    assert "challenger" in capsys.readouterr().out
    assert service.asked[-1][2] == {
        "arms": [{"alias": "champion", "weight": 0.9}, {"alias": "challenger", "weight": 0.1}],
        "salt": "s",
        "shadow": {"alias": "challenger", "share": 0.2},
        "log_share": 0.1,
    }
    assert run(["models", "traffic", "set", "shop", "--arm", "champion"]) == 2
    assert "ALIAS=NUMBER" in capsys.readouterr().err


def test_training_at_the_service(service: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    SHOP.save(tmp_path / "schema.yaml")
    service.answers = {
        "POST /v1/admin/models/shop/train": (202, {"job": {"id": "j1", "state": "queued"}}),
        "GET /v1/jobs/j1": (200, DONE),
    }
    words = ["models", "train", "shop", "--dataset", str(tmp_path), "--schema", str(tmp_path / "schema.yaml")]
    assert run([*words, "--promote", "-o", "epochs=1", "--json"]) == 0
    assert last_line(capsys)["result"]["version"] == "v2"
    body = service.asked[0][2]
    assert (body["dataset"], body["promote"], body["options"]) == (str(tmp_path), True, {"epochs": 1})
    assert [field["name"] for field in body["schema"]["fields"]] == list(SHOP.names)
    assert "values" not in body
    assert run([*words, "--values", "--no-wait"]) == 0
    assert service.asked[-1][2]["values"] is True
    assert "llactr jobs watch j1" in capsys.readouterr().out


def test_the_whole_chain(service: Any, capsys: pytest.CaptureFixture[str]) -> None:
    service.answers = {
        "POST /v1/admin/refresh": (202, {"job": {"id": "j1", "state": "queued"}}),
        "GET /v1/jobs/j1": (
            200,
            {**DONE, "state": "failed", "error": {"code": "conflict", "detail": "no field semantics"}},
        ),
    }
    assert run(["models", "refresh", "shop", "-o", "seed=3"]) == 2
    assert "no field semantics" in capsys.readouterr().err
    assert service.asked[0][2] == {"model": "shop", "ssft": {"seed": 3}}


def test_fields(service: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    SHOP.save(tmp_path / "schema.yaml")
    found = {"schema": "shop", "version": "t1", "fields": ["a", "b", "c"], "vectors": [[1, 0], [0, 1], [0.1, 1]]}
    service.answers = {
        "POST /v1/schemas": (201, {"name": "shop", "fingerprint": "f" * 64, "fields": []}),
        "POST /v1/admin/fields/shop/refresh": (200, {"version": "t1"}),
        "GET /v1/fields/shop/versions/previous": (200, {**found, "model": "mini"}),
        "GET /v1/fields/shop/versions": (200, {"versions": [{"version": "t1", "aliases": ["current"]}]}),
        "PUT /v1/fields/shop/aliases/current": (200, {"alias": "current", "version": "t0", "previous": "t1"}),
    }
    assert run(["fields", "register", str(tmp_path / "schema.yaml"), "--json"]) == 0
    assert last_line(capsys)["created"] is True
    assert run(["fields", "refresh", "shop", "--dataset", str(tmp_path), "--json"]) == 0
    assert last_line(capsys) == {"schema": "shop", "version": "t1", "reused": True}
    assert run(["fields", "show", "shop", "--version", "previous"]) == 0
    nearest = [line.split() for line in capsys.readouterr().out.splitlines() if line[:2] in ("a ", "b ", "c ")]
    assert [row[:2] for row in nearest] == [["a", "c"], ["b", "c"], ["c", "b"]]
    assert run(["fields", "versions", "shop", "--json"]) == 0
    assert last_line(capsys)["versions"][0]["aliases"] == ["current"]
    assert run(["fields", "alias", "shop", "current", "t0"]) == 0
    assert "current -> t0 (before: t1)" in capsys.readouterr().out


@pytest.mark.parametrize("given", ["s3://bucket/logs", "folder/rows.parquet"])
def test_a_dataset_is_a_url_or_a_path(
    service: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, given: str
) -> None:
    service.answers = {
        "POST /v1/admin/fields/shop/refresh": (200, {"version": "t1"}),
        "POST /v1/admin/models/shop/train": (202, {"job": {"id": "j1", "state": "queued"}}),
        "POST /v1/admin/refresh": (202, {"job": {"id": "j1", "state": "queued"}}),
        "GET /v1/jobs/j1": (200, DONE),
    }
    monkeypatch.chdir(tmp_path)
    for words in (["fields", "refresh", "shop"], ["models", "train", "shop"], ["models", "refresh", "shop"]):
        assert run([*words, "--dataset", given]) == 0
    sent = [body["dataset"] for _, _, body in service.asked if body]
    assert sent == [given if "://" in given else str(tmp_path / given)] * 3


def test_registering_tells_of_the_job_that_adds_fields(
    service: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    SHOP.save(tmp_path / "schema.yaml")
    schema = {"name": "shop", "fingerprint": "f" * 64, "fields": [], "extension": {"id": "x7", "state": "queued"}}
    service.answers = {"POST /v1/schemas": (201, schema)}
    assert run(["fields", "register", str(tmp_path / "schema.yaml"), "--json"]) == 0
    out = capsys.readouterr().out
    assert "llactr jobs watch x7" in out
    assert json.loads(out.splitlines()[-1])["extension"]["id"] == "x7"


@pytest.mark.parametrize("key", ["first\nsecond", "schl\u00fcssel", "two words"])
def test_a_key_that_is_none_is_refused_and_not_printed(
    service: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], key: str
) -> None:
    service.answers = {"GET /v1/models": (200, {"models": []})}
    monkeypatch.setenv("LLACTR_KEY", f" {key}\n")
    assert run(["models", "list"]) == 2
    captured = capsys.readouterr()
    assert "printable ASCII" in captured.err
    assert not any(part in captured.err + captured.out for part in key.split())
    assert service.asked == []
    monkeypatch.setenv("LLACTR_KEY", "good\n")
    assert run(["models", "list"]) == 0
    assert service.asked[0][1]["Authorization"] == "Bearer good"


def test_a_key_that_cannot_be_taken_back_is_told_with_both_reasons(
    service: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = {"id": "k1", "name": "ci", "role": "reader", "scopes": None, "created_at": "2026", "revoked_at": None}
    service.answers = {
        "POST /v1/admin/keys": (201, made),
        "DELETE /v1/admin/keys/k1": (500, {"code": "internal", "detail": "no revoking today"}),
    }
    other = type(service)()
    other.answers = {"POST /v1/admin/keys": (403, {"code": "forbidden", "detail": "you are no admin here"})}
    monkeypatch.setenv("LLACTR_CTR_URL", other.url)
    assert run(["keys", "create", "ci", "--role", "reader"]) == 2
    other.close()
    error = capsys.readouterr().err
    assert "you are no admin here" in error
    assert "no revoking today" in error
    assert "llactr keys revoke k1 --service llm" in error


def test_jobs(service: Any, capsys: pytest.CaptureFixture[str]) -> None:
    service.answers = {
        "GET /v1/jobs": (200, {"jobs": [DONE]}),
        "GET /v1/jobs/j1": (200, DONE),
        "DELETE /v1/jobs/j1": (202, {**DONE, "state": "running", "stage": "cancelling"}),
    }
    assert run(["jobs", "list", "--json"]) == 0
    assert [job["service"] for job in last_line(capsys)["jobs"]] == ["llm", "ctr"]
    assert run(["jobs", "show", "j1", "--json"]) == 0
    assert last_line(capsys)["result"]["version"] == "v2"
    assert run(["jobs", "cancel", "j1"]) == 0
    assert "cancelling" in capsys.readouterr().out
    assert run(["jobs", "watch", "j1", "--json"]) == 0
    assert last_line(capsys)["state"] == "succeeded"
    assert run(["jobs", "show", "unknown"]) == 2
    assert "nothing at GET /v1/jobs/unknown" in capsys.readouterr().err


def test_a_refusal_is_one_line(service: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    service.answers = {"GET /v1/models": (401, {"code": "unauthenticated", "detail": "no such key"})}
    assert run(["models", "list", "--json"]) == 2
    captured = capsys.readouterr()
    assert len(captured.err.splitlines()) == 1
    assert str(tmp_path) in captured.err
    error = json.loads(captured.out.splitlines()[-1])["error"]
    assert (error["status"], error["code"]) == (401, "unauthenticated")


def test_no_service_says_how_to_start_one(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    monkeypatch.setenv("CTR_PORT", str(port))
    monkeypatch.delenv("LLACTR_CTR_URL", raising=False)
    assert run(["models", "list"]) == 2
    assert "make run" in capsys.readouterr().err
