"""A worker's imports leave the core to those that serve; what it does afterwards does not."""

import os
import subprocess
import sys
from pathlib import Path

from services.shared.http.starting import NICER

ROOT = Path(__file__).parents[4]
MODULE = """
import os, threading

def mine():
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

IMPORTED = mine()

def main():
    print(IMPORTED, mine())
"""


def started(folder: Path, module: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "services.shared.http.starting", module]
    environment = {**os.environ, "PYTHONPATH": f"{folder}:{ROOT}"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)


def test_imports_have_a_low_priority_and_the_process_its_own(tmp_path: Path) -> None:
    (tmp_path / "served.py").write_text(MODULE)
    own = os.getpriority(os.PRIO_PROCESS, 0)
    assert started(tmp_path, "served").stdout.split() == [str(min(own + NICER, 19)), str(own)]


def test_a_module_that_cannot_be_imported_ends_the_process(tmp_path: Path) -> None:
    (tmp_path / "served.py").write_text("raise OSError('no such library')")
    ended = started(tmp_path, "served")
    assert (ended.returncode, "no such library" in ended.stderr) == (1, True)
