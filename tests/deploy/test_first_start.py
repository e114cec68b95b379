"""The keys and passwords of a deployment: made once, all or none, each for its reader alone."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "deploy" / "first_start.py"
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to others")


def start(folder: Path) -> str:
    done = subprocess.run([sys.executable, str(SCRIPT), str(folder)], capture_output=True, text=True, check=True)
    return done.stdout


def contents(folder: Path) -> dict[str, str]:
    return {str(file.relative_to(folder)): file.read_text() for file in folder.rglob("*") if file.is_file()}


def test_the_second_start_changes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    assert "are made" in start(folder)
    made = contents(folder)
    assert "were made before" in start(folder)
    assert contents(folder) == made


def test_two_deployments_have_nothing_in_common(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    start(one)
    start(two)
    assert set(contents(one).values()).isdisjoint(contents(two).values())


def test_a_file_is_for_its_reader_alone(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    start(folder)
    owners = {}
    for file in folder.rglob("*"):
        if file.is_file():
            found = file.stat()
            assert found.st_mode & 0o777 == 0o400
            owners[str(file.relative_to(folder))] = found.st_uid
    assert owners["admin.key"] == 10001
    assert owners["postgres/superuser.password"] == 999
    assert owners["prometheus/reader.key"] == 65534


def test_an_interrupted_start_leaves_nothing_that_counts(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    unfinished = tmp_path / ".keys.unfinished"
    unfinished.mkdir()
    (unfinished / "admin.key").write_text("half")
    start(folder)
    assert not unfinished.exists()
    assert contents(folder)["admin.key"].startswith("llactr_")


def test_the_services_read_their_settings_from_it(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    start(folder)
    program = (
        "from services.ctr.settings import CtrSettings as S; s = S(); print(s.storage_url, s.redis_url is not None)"
    )
    env = {**os.environ, "LLACTR_SECRETS_DIR": str(folder / "ctr")}
    done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.split()[0] == contents(folder)["ctr/llactr_ctr_database_url"]
    assert done.stdout.split()[1] == "True"


def test_a_folder_of_secrets_that_is_not_there_is_refused(tmp_path: Path) -> None:
    env = {**os.environ, "LLACTR_SECRETS_DIR": str(tmp_path / "nowhere")}
    program = [sys.executable, "-m", "services.ctr.api"]
    done = subprocess.run(program, env=env, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert "LLACTR_SECRETS_DIR" in done.stderr
