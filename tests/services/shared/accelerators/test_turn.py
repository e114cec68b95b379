"""One job per accelerator, between processes."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from llactr_core.errors import JobCancelled
from services.shared.accelerators.gpus import accelerators
from services.shared.accelerators.turn import turn

HOLDER = """
import sys, time
from pathlib import Path
from services.shared.accelerators.turn import turn
with turn(sys.argv[2:], time.sleep, Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def holder(folder: Path, *names: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", HOLDER, str(folder), *names]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_process_waits_and_may_be_cancelled(tmp_path: Path) -> None:
    waits: list[float] = []

    def give_up(seconds: float) -> None:
        waits.append(seconds)
        raise JobCancelled("cancellation was asked for")

    with holder(tmp_path, "GPU-b", "GPU-a") as other:
        with pytest.raises(JobCancelled), turn(["GPU-a"], give_up, tmp_path):
            pass
        with turn(["GPU-c"], give_up, tmp_path):
            pass
        other.send_signal(signal.SIGKILL)  # the kernel lets go
        other.wait()
    with turn(["GPU-a", "GPU-b"], give_up, tmp_path):
        pass
    assert len(waits) == 1


def test_the_turn_comes_when_the_other_is_done(tmp_path: Path) -> None:
    with holder(tmp_path, "GPU-a") as other:

        def end_the_other(_seconds: float) -> None:
            other.communicate("")

        with turn(["GPU-a", "GPU-a"], end_the_other, tmp_path):
            assert other.returncode == 0


def test_a_failed_wait_gives_back_what_was_held(tmp_path: Path) -> None:
    def give_up(_seconds: float) -> None:
        raise JobCancelled("cancellation was asked for")

    with holder(tmp_path, "GPU-b"):
        with pytest.raises(JobCancelled), turn(["GPU-a", "GPU-b"], give_up, tmp_path):
            pass
        with turn(["GPU-a"], give_up, tmp_path):
            pass


def test_a_cpu_is_no_accelerator(tmp_path: Path) -> None:
    assert accelerators("cpu", 4) == ()
    with turn((), pytest.fail, tmp_path):
        pass
    assert not list(tmp_path.iterdir())
