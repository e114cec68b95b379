"""A program that is kept running, with a trivial program: it listens, and has a process of its own as vLLM does."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from llactr_core.errors import UnavailableError
from services.llm.engines.vllm.child import Child

PROGRAM = """
import os, signal, socket, subprocess, sys, time
stubborn = "import signal, time; signal.signal(signal.SIGTERM, lambda *_: None); time.sleep(99)"
grandchild = subprocess.Popen([sys.executable, "-c", stubborn])
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("started", os.getpid(), grandchild.pid, flush=True)
time.sleep(99)
"""
OWNER = """
import os, sys, time
from pathlib import Path
from services.llm.engines.vllm.child import Child
port, log = int(sys.argv[1]), Path(sys.argv[2])
Child([sys.executable, "-c", sys.argv[3], str(port)], dict(os.environ), port, log).start()
time.sleep(99)
"""


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "logs" / "child.log"


@pytest.fixture
def port(free_port: Callable[[], int]) -> int:
    return free_port()


@pytest.fixture
def child(port: int, log: Path) -> Iterator[Child]:
    made = Child([sys.executable, "-c", PROGRAM, str(port)], dict(os.environ), port, log)
    yield made
    made.stop()


def starts(log: Path) -> list[tuple[int, int]]:
    """The ids of the program and of its own process, per start."""
    lines = log.read_text().splitlines() if log.exists() else []
    return [(int(line.split()[1]), int(line.split()[2])) for line in lines if line.startswith("started")]


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_stop_ends_the_whole_group_and_start_begins_anew(
    child: Child, log: Path, wait_for: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UnavailableError, match="does not run: it is stopped"):
        child.check()
    child.start()
    wait_for(lambda: len(starts(log)) == 1, 20, "the program to start")
    child.check()
    child.stop()
    assert not any(map(is_alive, starts(log)[0]))
    with pytest.raises(UnavailableError):
        child.check()
    child.start()
    wait_for(lambda: len(starts(log)) == 2, 20, "the program to start again")


def test_it_is_started_again_when_it_ends_by_itself(child: Child, log: Path, wait_for: Callable[..., None]) -> None:
    child.start()
    wait_for(lambda: len(starts(log)) == 1, 20, "the program to start")
    program, grandchild = starts(log)[0]
    os.kill(program, signal.SIGKILL)
    wait_for(lambda: len(starts(log)) == 2, 20, "the program to start again")
    assert not is_alive(grandchild)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_outlives_its_owner(
    port: int, log: Path, number: signal.Signals, wait_for: Callable[..., None]
) -> None:
    owner = subprocess.Popen([sys.executable, "-c", OWNER, str(port), str(log), PROGRAM])
    wait_for(lambda: len(starts(log)) == 1, 30, "the program to start")
    pids = starts(log)[0]
    assert all(map(is_alive, pids))
    owner.send_signal(number)
    owner.wait()
    wait_for(lambda: not any(map(is_alive, pids)), 10, "the program to end")


def test_nor_does_it_outlive_its_watchdog(child: Child, log: Path, wait_for: Callable[..., None]) -> None:
    child.start()
    wait_for(lambda: len(starts(log)) == 1, 20, "the program to start")
    program, _ = starts(log)[0]
    psutil.Process(program).parent().kill()
    wait_for(lambda: not is_alive(program), 10, "the program to end")
    wait_for(lambda: len(starts(log)) == 2, 20, "the program to start again")


def test_what_cannot_run_says_why(log: Path, port: int, wait_for: Callable[..., None]) -> None:
    with socket.create_server(("127.0.0.1", port)):
        waiting = Child([sys.executable, "-c", PROGRAM, str(port)], dict(os.environ), port, log)
        waiting.start()
        wait_for(lambda: "in use by another" in trouble(waiting), 10, "the taken port to be noticed")
        assert not starts(log)
        waiting.stop()
    missing = Child(["/no/such/program"], dict(os.environ), port, log)
    missing.start()
    wait_for(lambda: "ended by itself with status 1" in trouble(missing), 10, "the end to be noticed")
    missing.stop()
    assert "/no/such/program" in log.read_text()


def trouble(child: Child) -> str:
    try:
        child.check()
    except UnavailableError as error:
        return error.detail
    return ""
