"""`llactr first-model` on services that answer from a script."""

import sys
from pathlib import Path
from typing import Any

import pytest

from llactr_core.datasets import sample_dataset
from services.cli.main import run


@pytest.fixture
def trained(service: Any) -> Any:
    """Services with a champion of the sample."""
    for path in ("/healthz", "/readyz"):
        service.answers[f"GET {path}"] = (200, {"status": "ok"})
    model = {"name": "bank-marketing", "aliases": {"champion": "v1"}, "versions": ["v1"]}
    lineage = {"dataset": str(sample_dataset()), "backbone": "deepfm", "enhancer": "llactr"}
    lineage["schema_fingerprint"] = _fingerprint()
    version = {"version": "v1", "aliases": ["champion"], "lineage": lineage, "metrics": {"valid": {"auc": 0.75}}}
    service.answers["GET /v1/models"] = (200, {"models": [model]})
    listed = {"model": "bank-marketing", "versions": [version | {"model": "bank-marketing", "created_at": ""}]}
    service.answers["GET /v1/models/bank-marketing/versions"] = (200, listed)
    return service


def _fingerprint() -> str:
    from llactr_core.schema import Schema

    return Schema.load(sample_dataset() / "schema.yaml").fingerprint


def test_a_model_that_is_there_is_not_trained_again(trained: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["first-model", "--json"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == '{"model": "bank-marketing", "version": "v1"}'
    assert [call for call, *_ in trained.asked if not call.startswith("GET ")] == []


def test_a_service_that_does_not_come_up_is_named(service: Any, capsys: pytest.CaptureFixture[str]) -> None:
    service.answers["GET /healthz"] = (503, {"code": "unavailable", "detail": "not yet"})
    assert run(["first-model", "--wait-s", "0.2"]) == 2
    assert "the LLM service is not ready" in capsys.readouterr().err


def test_without_pytorch_a_command_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    for module in [name for name in sys.modules if name.startswith(("llactr_core.training", "llactr_core.models"))]:
        monkeypatch.delitem(sys.modules, module)
    sample = sample_dataset()
    words = ["train", "--data", str(sample), "--schema", str(sample / "schema.yaml"), "--enhancer", "none"]
    assert run([*words, "--out", str(tmp_path / "model")]) == 2
    assert "llactr[models]" in capsys.readouterr().err
