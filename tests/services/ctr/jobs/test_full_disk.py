"""Training on a disk that is really full: a small file system of its own, the database and the bundles on it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from llactr_core.bundle import Bundle

ROOT = Path(__file__).parents[4]
MOUNT = 'mount -t tmpfs -o size=14m none "$1" && shift && exec "$@"'


def on_a_small_disk(disk: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command that sees 14 MiB of memory as a disk mounted at `disk`; nobody else sees it."""
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    return subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", MOUNT, "sh", str(disk), *command],
        capture_output=True,
        text=True,
        timeout=200,
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
    )


def test_a_full_disk_fails_the_job_and_nothing_else(tmp_path: Path, dataset: Path, bundles: dict[str, Bundle]) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if on_a_small_disk(disk, "true").returncode != 0:
        pytest.skip("this system lets no one mount a file system of their own; /dev/full stands in for it elsewhere")
    champion = bundles["none"]
    script = [sys.executable, str(ROOT / "tests" / "full_disk.py"), str(disk), str(dataset), str(champion.path)]
    done = on_a_small_disk(disk, *script, "40")
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert found["failed"]["state"] == "failed"
    assert (found["failed"]["error"]["code"], found["failed"]["error"]["status"]) == ("storage-full", 507)
    assert str(disk) in found["failed"]["error"]["detail"]
    assert (found["left"], found["champion"], found["ended"]) == (False, champion.version, True)
    assert found["again"]["state"] == "succeeded", "with space again the same worker trains"
