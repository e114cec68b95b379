"""What `llactr up` refuses, in a process of its own; the golden path tests the rest."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from services.cli.console import CommandError
from services.cli.place import Place
from services.cli.up import check_ports

pytestmark = pytest.mark.timeout(120)


def up(home: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    env = {k: v for k, v in os.environ.items() if k not in ("DATA", "LABEL", "CTR_PORT", "LLM_PORT")}
    command = [sys.executable, "-m", "services.cli.main", "up"]
    env |= {"LLACTR_HOME": str(home), **variables}
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)


def test_a_taken_port_is_a_clear_error(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, socket.create_server(("127.0.0.1", 0)) as free:
        number, other = taken.getsockname()[1], free.getsockname()[1]
        free.close()
        done = up(tmp_path / "home", CTR_PORT=str(number), LLM_PORT=str(other))
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert f"port {number} is taken" in done.stderr
    assert "CTR_PORT=" in done.stderr
    assert (tmp_path / "home" / "admin.key").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"CTR_PORT": "7000", "LLM_PORT": "7000"}, "both 7000"),
        ({"CTR_PORT": "http"}, "CTR_PORT is 'http'"),
        ({"LLM_PORT": "70000"}, "1 to 65535"),
    ],
)
def test_ports_that_cannot_be(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], message: str) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(CommandError, match=message):
        check_ports(Place.from_environment())


def test_empty_variables_are_as_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("CTR_PORT", "LLM_PORT", "LLACTR_HOME", "LLACTR_KEY", "LLACTR_CTR_URL"):
        monkeypatch.setenv(name, "")
    monkeypatch.chdir(tmp_path)
    place = Place.from_environment()
    assert (place.ctr_port, place.llm_port, place.home) == (8000, 8001, tmp_path / ".llactr")
    assert place.ctr_url == "http://127.0.0.1:8000"
    assert place.key() is None


def test_the_key_is_that_of_the_state_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("LLACTR_KEY", raising=False)
    monkeypatch.setenv("LLACTR_HOME", str(tmp_path))
    (tmp_path / "admin.key").write_text("abc\n")
    assert Place.from_environment().key() == "abc"
    monkeypatch.setenv("LLACTR_KEY", "mine")
    assert Place.from_environment().key() == "mine"


def test_data_that_cannot_be_used_is_status_2(tmp_path: Path) -> None:
    done = up(tmp_path / "home", DATA=str(tmp_path / "nothing.csv"), LABEL="click", CTR_PORT="7001", LLM_PORT="7002")
    assert done.returncode == 2
    assert "no such file" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_home_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = up(tmp_path / "file" / "home")
    assert done.returncode == 1
    assert "choose another folder" in done.stderr
