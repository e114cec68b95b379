"""`llactr keys` with both services for real, on ports of their own."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI
from llactr_client import Client

from services.cli.main import run
from services.ctr.app import build_app as build_ctr
from services.ctr.settings import CtrSettings
from services.llm.app import build_app as build_llm
from services.llm.settings import LlmSettings
from services.shared.access.auth import ensure_admin_key
from services.shared.http.serving import bind

Run = Callable[..., Any]


@contextmanager
def serving(app: FastAPI) -> Iterator[str]:
    listener = bind("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    thread.join(10)
    listener.close()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of a user whose home has both services running, without models."""
    home = tmp_path_factory.mktemp("home")
    ensure_admin_key(home / "admin.key")
    with serving(build_llm(LlmSettings(home=home))) as llm, serving(build_ctr(CtrSettings(home=home))) as ctr:
        yield {"LLACTR_HOME": str(home), "LLACTR_LLM_URL": llm, "LLACTR_CTR_URL": ctr}


@pytest.fixture
def llactr(place: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `llactr keys`; what its last line says, or (with `refused`) its complaint."""
    for name, value in place.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("LLACTR_KEY", raising=False)

    def command(*words: str, refused: bool = False) -> Any:
        status = run(["keys", *words, "--json"])
        captured = capsys.readouterr()
        assert (status != 0) is refused, captured
        return captured.err if refused else json.loads(captured.out.splitlines()[-1])

    return command


def client_of(place: dict[str, str], key: str) -> Client:
    return Client(place["LLACTR_CTR_URL"], place["LLACTR_LLM_URL"], key)


def listed(llactr: Run, name: str, *words: str) -> list[dict[str, Any]]:
    return [key for key in llactr("list", *words)["keys"] if key["name"] == name]


def test_one_key_for_both_services(llactr: Run, place: dict[str, str]) -> None:
    made = llactr("create", "dashboard", "--role", "admin")
    with client_of(place, made["key"]) as client:
        assert {key.name for service in ("llm", "ctr") for key in client.keys(service)} >= {"dashboard"}
    found = listed(llactr, "dashboard")
    assert [(key["service"], key["role"], key["scopes"]) for key in found] == [
        ("llm", "admin", None),
        ("ctr", "admin", None),
    ]
    assert made["key"] not in json.dumps(found)
    llactr("revoke", "dashboard")
    assert all(key["revoked_at"] for key in listed(llactr, "dashboard"))


def test_what_a_key_is_limited_to_says_who_accepts_it(llactr: Run) -> None:
    llactr("create", "reads movies", "--role", "reader", "--schema", "movies", "--schema", "books")
    llactr("create", "trains shop", "--role", "trainer", "--model", "shop")
    llactr("create", "two", "--role", "trainer", "--model", "shop", "--schema", "movies")
    assert [(k["service"], k["scopes"]) for k in listed(llactr, "reads movies")] == [("llm", ["books", "movies"])]
    assert [(k["service"], k["scopes"]) for k in listed(llactr, "trains shop")] == [("ctr", ["shop"])]
    assert [(k["service"], k["scopes"]) for k in listed(llactr, "two")] == [("llm", ["movies"]), ("ctr", ["shop"])]


@pytest.mark.parametrize("words", [["--schema", "s", "--service", "both"], ["--model", "m", "--service", "llm"]])
def test_no_key_is_wider_than_it_looks(llactr: Run, words: list[str]) -> None:
    assert "leave --service out" in llactr("create", "wide", "--role", "reader", *words, refused=True)
    assert listed(llactr, "wide") == []


def test_where_one_service_refuses_the_other_one_keeps_nothing(
    llactr: Run, place: dict[str, str], tmp_path: Path
) -> None:
    words = ["create", "half", "--role", "reader", "--schema", "ok", "--model", "x" * 200]
    assert "scopes" in llactr(*words, refused=True)
    assert [bool(key["revoked_at"]) for key in listed(llactr, "half")] == [True]


def test_a_name_that_several_keys_have_is_no_name(llactr: Run) -> None:
    first = llactr("create", "ci", "--role", "trainer", "--service", "llm")
    llactr("create", "ci", "--role", "trainer", "--service", "llm")
    assert first["keys"][0]["id"] in llactr("revoke", "ci", refused=True)
    llactr("revoke", first["keys"][0]["id"])
    llactr("revoke", "ci")
    assert "keys list" in llactr("revoke", "ci", refused=True)


def test_the_audit_tells_what_was_done(llactr: Run, place: dict[str, str]) -> None:
    key = llactr("create", "auditor", "--role", "admin", "--service", "llm")["key"]
    with client_of(place, key) as client:
        newest = client.audit("llm", limit=1)
        older = client.audit("llm", limit=1000, before=newest[0].id)
    assert (newest[0].key_id, newest[0].method, newest[0].path, newest[0].status) == (
        "admin.key",
        "POST",
        "/v1/admin/keys",
        201,
    )
    assert newest[0].id not in {entry.id for entry in older}


def test_a_key_that_exists_can_be_given_twice(llactr: Run, place: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "reader.key"
    file.write_text("llactr_a-key-that-somebody-made-before\n")
    first = llactr("create", "prometheus", "--role", "reader", "--key-file", str(file))
    again = llactr("create", "prometheus", "--role", "reader", "--key-file", str(file))
    assert [key["id"] for key in again["keys"]] == [key["id"] for key in first["keys"]]
    assert "key" not in first
    with Client(place["LLACTR_CTR_URL"], place["LLACTR_LLM_URL"], file.read_text().strip()) as reader:
        assert reader.models() == ()
        assert reader.schemas() == ()


@pytest.mark.parametrize("content", ["", "short", None], ids=["empty", "short", "missing"])
def test_a_file_without_a_key_is_refused(llactr: Run, tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "some.key"
    if content is not None:
        file.write_text(content)
    assert str(file) in llactr("create", "x", "--role", "reader", "--key-file", str(file), refused=True)
