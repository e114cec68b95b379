"""The Makefile on a virtual environment that is none: what it hands to `llactr up`, what it says without Python."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SHOWN = ("CTR_PORT", "LLM_PORT", "LLACTR_HOME", "DATA", "LABEL", "LLM_MODEL")
pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="needs make")


def make(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if name not in (*SHOWN, "MAKEFLAGS", "MAKELEVEL", "VENV")}
    return subprocess.run(
        [shutil.which("make") or "make", "-C", str(ROOT), "--no-print-directory", *words],
        env=env | variables,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.fixture
def venv(tmp_path: Path) -> Path:
    (tmp_path / "bin").mkdir()
    llactr = tmp_path / "bin" / "llactr"
    llactr.write_text('#!/bin/sh\necho "$@"\n' + "".join(f'echo "{name}=${name}"\n' for name in SHOWN) + "exit 3\n")
    llactr.chmod(0o755)
    for name in ("bin/python", ".torch", ".installed", ".installed-dev"):
        (tmp_path / name).touch()
    return tmp_path


def test_variables_reach_the_command(venv: Path) -> None:
    done = make("run", f"VENV={venv}", "CTR_PORT=1234", "DATA=my rows.csv", LABEL="click", LLM_PORT="1235")
    lines = done.stdout.splitlines()
    assert lines[0] == "up --under-make"
    assert lines[1:] == [
        "CTR_PORT=1234",
        "LLM_PORT=1235",
        "LLACTR_HOME=",
        "DATA=my rows.csv",
        "LABEL=click",
        "LLM_MODEL=",
    ]
    assert done.returncode != 0, "a failure of the command is one of make"


def test_run_is_the_default_goal(venv: Path) -> None:
    assert make(f"VENV={venv}").stdout.startswith("up --under-make")


def test_install_does_nothing_twice(venv: Path) -> None:
    done = make("install", f"VENV={venv}")
    assert done.returncode == 0
    assert "pip" not in done.stdout


def test_a_changed_lock_installs_again(venv: Path) -> None:
    os.utime(venv / ".installed", (0, 0))
    assert "-c requirements.lock -e clients/python -e '.[models]'" in make("-n", "install", f"VENV={venv}").stdout


@pytest.mark.parametrize(
    ("python", "message"), [("/bin/false", "/bin/false is no Python >= 3.11"), ("", "PYTHON=/path")]
)
def test_without_python_it_says_what_to_do(tmp_path: Path, python: str, message: str) -> None:
    done = make("install", f"VENV={tmp_path}/none", f"PYTHON={python}")
    assert done.returncode != 0
    assert message in done.stderr
    assert not (tmp_path / "none").exists()


def test_python_without_venv_is_told_of(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\ncase "$2" in *ensurepip*) exit 1;; esac\nexit 0\n')
    python.chmod(0o755)
    done = make("install", f"VENV={tmp_path}/none", f"PYTHON={python}")
    assert done.returncode != 0
    assert "python3-venv" in done.stderr
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("index", "build"),
    [
        ("https://download.pytorch.org/whl/cpu", "+cpu"),
        ("https://download.pytorch.org/whl/cu130/", "+cu130"),
        ("https://mirror.example/simple", "+cpu"),
    ],
)
def test_torch_is_the_cpu_build_unless_another_index_is_named(venv: Path, index: str, build: str) -> None:
    (venv / ".torch").unlink()
    planned = make("-n", "install", f"VENV={venv}", f"TORCH_INDEX={index}").stdout
    assert f"--index-url '{index}' 'torch==2.13.0{build}'" in planned
    assert "2.13.0'" not in planned


def test_the_lock_fits_the_project() -> None:
    pins = dict(line.split("==") for line in (ROOT / "requirements.lock").read_text().splitlines() if "==" in line)
    assert pins["torch"] in (ROOT / "Makefile").read_text()
    assert {"setuptools", "fastapi", "httpx2", "pytest", "ruff", "mypy"} <= set(pins)
    assert not any("+" in pin or "@" in pin for pin in pins.values())
