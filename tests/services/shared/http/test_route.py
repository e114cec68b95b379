"""Bodies: of whom they are read, and that their texts are whole characters."""

import json
import time
from pathlib import Path

import anyio
import pytest
from fastapi import FastAPI
from starlette.types import Message

from llactr_core.errors import InputError
from services.ctr.app import build_app as build_ctr
from services.ctr.settings import CtrSettings
from services.llm.app import build_app as build_llm
from services.llm.settings import LlmSettings
from services.shared.http.route import check_text

BUILDERS = {"ctr": lambda home: build_ctr(CtrSettings(home=home, require_key_to_read=True))} | {
    "llm": lambda home: build_llm(LlmSettings(home=home, require_key_to_read=True))
}


async def call(app: FastAPI, method: str, path: str) -> tuple[int, int]:
    """Status of a call without a key, and how often its body was asked for."""
    status, reads = 0, 0

    async def receive() -> Message:
        nonlocal reads
        reads += 1
        return {"type": "http.request", "body": b"[" * 100, "more_body": False}

    async def send(message: Message) -> None:
        nonlocal status
        status = message.get("status", status)

    headers = [(b"content-type", b"application/json"), (b"content-length", b"1000000")]
    scope = {"type": "http", "method": method, "path": path, "root_path": "", "query_string": b"", "headers": headers}
    await app({**scope, "app": app}, receive, send)
    return status, reads


@pytest.mark.parametrize("service", BUILDERS)
def test_no_body_of_a_caller_without_a_key_is_read(service: str, tmp_path: Path) -> None:
    app = BUILDERS[service](tmp_path)
    paths = app.openapi()["paths"]
    calls = [(method.upper(), path) for path, known in paths.items() for method in known if method in ("post", "put")]
    assert len(calls) >= 5
    for method, path in calls:
        assert anyio.run(call, app, method, path) == (401, 0), path


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (rb'"\ud800"', None),
        (rb'{"a": ["b", "\uDCff"]}', "a.1"),
        (rb'{"a": {"\ud83d": 1}}', "a.\ud83d"),
        (b'{"a": "\xed\xa0\x80"}', "a"),
        ('{"a": "\ud800"}'.encode("utf-16", "surrogatepass"), "a"),
    ],
)
def test_half_a_surrogate_pair_is_refused_by_its_place(body: bytes, field: str | None) -> None:
    with pytest.raises(InputError, match="half a surrogate pair") as raised:
        check_text(body)
    assert raised.value.field == field


@pytest.mark.parametrize(
    "body", [rb'"\ud83d\ude00"', rb'"\\ud800"', '"\U0001f600"'.encode(), rb'["\ud800"', b"[" * 5000 + rb'"\ud800"', b""]
)
def test_whole_characters_and_what_is_no_json_pass(body: bytes) -> None:
    check_text(body)


def test_a_large_body_is_looked_through_quickly() -> None:
    body = json.dumps({"rows": ["text"] * 500_000}).encode()
    started = time.perf_counter()
    check_text(body)
    assert time.perf_counter() - started < 0.5
