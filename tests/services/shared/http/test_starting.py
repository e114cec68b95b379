"""Imports are not collected, and those of a worker leave the core to others that serve; what comes later does not."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from services.shared.http.starting import NICER, PLACE

ROOT = Path(__file__).parents[4]
MODULE = """
import gc, os, threading

def mine():
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id()), gc.isenabled()

IMPORTED = mine()

def main():
    print(*IMPORTED, *mine(), gc.get_freeze_count() > 1000)
"""


def started(folder: Path, module: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", f"from services.shared.http.starting import start; start({module!r})"]
    whole = {**os.environ, "PYTHONPATH": f"{folder}:{ROOT}", **environment}
    return subprocess.run(command, capture_output=True, text=True, env=whole, timeout=60)


@pytest.mark.parametrize(("place", "nicer"), [({PLACE: "3,4"}, NICER), ({}, 0)], ids=["beside others", "alone"])
def test_imports_beside_others_have_a_low_priority_and_none_is_collected(
    tmp_path: Path, place: dict[str, str], nicer: int
) -> None:
    (tmp_path / "served.py").write_text(MODULE)
    own = os.getpriority(os.PRIO_PROCESS, 0)
    importing, collecting, serving, collected, frozen = started(tmp_path, "served", **place).stdout.split()
    assert (int(importing), int(serving)) == (min(own + nicer, 19), own)
    assert (collecting, collected, frozen) == ("False", "True", "True")


def test_a_module_that_cannot_be_imported_ends_the_process(tmp_path: Path) -> None:
    (tmp_path / "served.py").write_text("raise OSError('no such library')")
    ended = started(tmp_path, "served")
    assert (ended.returncode, "no such library" in ended.stderr) == (1, True)
