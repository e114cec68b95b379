"""The processes themselves: readiness, refusals to start, what the API process loads, the OpenAPI document."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from llactr_core.errors import UnavailableError
from services.llm.app import build_app
from services.llm.settings import LlmSettings
from services.shared.storage.storage import Storage

ROOT = Path(__file__).parents[3]


def start(module: str, home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    variables = {**os.environ, "LLACTR_HOME": str(home), **environment}
    return subprocess.run(
        [sys.executable, "-m", module], cwd=ROOT, env=variables, capture_output=True, text=True, timeout=60, check=False
    )


def test_ready_with_a_model_and_not_without(settings: LlmSettings, tiny_model: Path, tmp_path: Path) -> None:
    broken = Path(shutil.copytree(tiny_model, tmp_path / "broken"))
    with TestClient(build_app(settings.model_copy(update={"model": str(broken)}))) as client:
        assert client.get("/readyz").json() == {"status": "ready"}
        (broken / "model.safetensors").unlink()
        answer = client.get("/readyz")
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
        assert "safetensors" in answer.json()["detail"]
        assert client.get("/healthz").status_code == 200


def test_the_packaged_model_is_ready_and_verified(settings: LlmSettings) -> None:
    with TestClient(build_app(LlmSettings(home=settings.home))) as client:
        assert client.get("/readyz").status_code == 200


def test_not_ready_without_storage(app: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(_: Storage) -> None:
        raise UnavailableError("the storage does not answer")

    monkeypatch.setattr(Storage, "ping", gone)
    answer = app.get("/readyz")
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert "storage" in answer.json()["detail"]


def test_a_taken_port_is_one_clear_line(house: Any, tmp_path: Path) -> None:
    ended = start("services.llm.api", tmp_path, LLM_PORT=str(house.port))
    assert ended.returncode == 1
    assert ended.stderr.startswith(f"error: cannot listen on 127.0.0.1:{house.port}: Address already in use")
    assert ended.stderr.count("\n") == 1


def test_beyond_loopback_without_a_key_nothing_starts(tmp_path: Path) -> None:
    ended = start("services.llm.api", tmp_path, LLM_PORT="0", LLACTR_LLM_HOST="0.0.0.0")
    assert ended.returncode == 1
    assert "without any key" in ended.stderr.splitlines()[-1]


def test_a_bad_setting_is_one_clear_line(tmp_path: Path) -> None:
    ended = start("services.llm.worker", tmp_path, LLACTR_LLM_LEASE_S="-1")
    assert (ended.returncode, ended.stderr.count("\n")) == (1, 1)
    assert ended.stderr.startswith("error: setting lease_s")


def test_the_api_process_starts_without_torch() -> None:
    code = "import sys, services.llm.app; print(sorted({'torch', 'transformers', 'peft'} & set(sys.modules)))"
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert ended.stdout == "[]\n"


def test_every_operation_is_described_and_every_body_has_an_example(app: TestClient) -> None:
    document = app.get("/openapi.json").json()
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert operation.get("summary"), (method, path)
            if "requestBody" in operation:
                reference = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"]
                assert document["components"]["schemas"][reference.rsplit("/", 1)[-1]]["examples"], path
            if path.startswith("/v1/"):
                refusals = {"401", "403"} | ({"400", "413", "415", "422"} if "requestBody" in operation else set())
                assert refusals <= operation["responses"].keys(), (method, path)


def test_answers_are_as_documented(app: TestClient) -> None:
    schemas = app.get("/openapi.json").json()["components"]["schemas"]
    assert set(schemas["JobView"]["properties"]) >= {"id", "state", "stage", "progress", "eta_s", "result", "error"}
    assert set(schemas["FieldTableView"]["properties"]) >= {
        "schema",
        "version",
        "fields",
        "vectors",
        "model",
        "metrics",
    }
    assert "schema" in schemas["AliasView"]["properties"]
    assert "schema" in schemas["Refreshed"]["properties"]
