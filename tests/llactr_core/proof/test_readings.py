import subprocess
from pathlib import Path

from llactr_core.proof.readings import LOG, record_reading


def test_each_reading_is_appended_with_its_commit(tmp_path: Path) -> None:
    git = ["git", "-C", str(tmp_path), "-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run([*git, "init", "--quiet"], check=True)
    subprocess.run([*git, "commit", "--quiet", "--allow-empty", "-m", "first"], check=True)
    (tmp_path / LOG.parent).mkdir(parents=True)
    assert record_reading("make results (a, b)", tmp_path)
    assert record_reading("make run", tmp_path)
    head, first, second = (tmp_path / LOG).read_text().splitlines()
    commit = subprocess.check_output([*git, "rev-parse", "HEAD"], text=True).strip()
    assert head == "date,commit,command"
    assert first.endswith(f',{commit},"make results (a, b)"')
    assert second.endswith(f",{commit},make run")


def test_outside_of_a_checkout_nothing_is_written(tmp_path: Path) -> None:
    assert not record_reading("make run", tmp_path)
    assert list(tmp_path.iterdir()) == []
