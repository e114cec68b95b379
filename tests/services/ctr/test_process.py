"""The processes: what the API imports, what its settings say, and how it refuses to start."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from services.ctr.settings import CtrSettings

HEAVY = ("torch", "transformers", "peft", "sklearn")


def test_neither_process_imports_torch_or_transformers() -> None:
    code = f"import sys, services.ctr.app, services.ctr.worker; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


def test_beyond_loopback_without_a_key_the_api_does_not_start(tmp_path: Path) -> None:
    environment = os.environ | {"LLACTR_HOME": str(tmp_path), "LLACTR_CTR_HOST": "0.0.0.0", "CTR_PORT": "0"}
    done = subprocess.run(
        [sys.executable, "-m", "services.ctr.api"], capture_output=True, text=True, timeout=60, env=environment
    )
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].startswith("error: the service would listen on 0.0.0.0 without any key")


def test_settings_come_from_the_environment_and_each_is_described(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CTR_PORT", "9000")
    monkeypatch.setenv("LLACTR_HOME", "/somewhere")
    monkeypatch.setenv("LLACTR_CTR_LLM_URL", "http://llm:1")
    monkeypatch.setenv("LLACTR_CTR_LLM_KEY", "secret")
    settings = CtrSettings()
    assert (settings.port, settings.llm_url) == (9000, "http://llm:1")
    assert settings.bundles == Path("/somewhere/ctr/bundles")
    assert "secret" not in repr(settings)
    assert [name for name, field in CtrSettings.model_fields.items() if not field.description] == []
