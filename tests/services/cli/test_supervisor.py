"""The supervisor in a process of its own, with dummy programs, one of which starts a child in a session of its own."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

pytestmark = pytest.mark.timeout(90)

# Notes its process id, starts a child in a session of its own which starts another one, and waits.
PROGRAM = """
import os, signal, subprocess, sys, time
from pathlib import Path

name, depth, stubborn, folder = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "stubborn", Path(sys.argv[4])
if stubborn:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if depth:
    command = [sys.executable, __file__, name + "-child", str(depth - 1), sys.argv[3], sys.argv[4]]
    subprocess.Popen(command, start_new_session=True)
(folder / f"{os.getpid()}.{name}").touch()
if name.startswith("orphaning") and depth == 1:
    time.sleep(0.5)
    os._exit(0)  # its child loses its parent
time.sleep(120)
"""

SUPERVISOR = """
import json, sys
from pathlib import Path

from services.cli.stopping import Make, StopRequest
from services.cli.supervisor import Program, Supervisor, supervise

folder, grace, under_make = Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3] == "make"
stop = StopRequest(Make() if under_make else None)
stop.listen()
programs = [
    Program(name, (sys.executable, str(folder / "program.py"), name, depth, how, str(folder / "pids")), {"MARK": "x"},
            folder / "logs" / f"{name}.log")
    for name, depth, how in json.loads(sys.argv[4])
]
supervise(Supervisor(programs, grace_s=grace), stop)
print("ended", flush=True)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "pids").mkdir()
    (tmp_path / "program.py").write_text(PROGRAM)
    (tmp_path / "supervisor.py").write_text(SUPERVISOR)
    yield tmp_path
    for pid in family(tmp_path):
        os.kill(pid, signal.SIGKILL)


def family(folder: Path) -> list[int]:
    """The ids of all dummy processes that live."""
    return [pid for pid in (int(f.name.split(".")[0]) for f in (folder / "pids").iterdir()) if lives(pid)]


def lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def command(folder: Path, *programs: tuple[str, str, str], grace: float = 5.0, make: bool = False) -> list[str]:
    under = "make" if make else "alone"
    return [sys.executable, str(folder / "supervisor.py"), str(folder), str(grace), under, json.dumps(programs)]


def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def start(folder: Path, *programs: tuple[str, str, str], processes: int, grace: float = 5.0) -> subprocess.Popen[bytes]:
    with (folder / "output").open("wb") as output:
        supervisor = subprocess.Popen(command(folder, *programs, grace=grace), stdout=output)
    until(lambda: len(family(folder)) == processes)
    return supervisor


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_every_descendant(folder: Path, number: signal.Signals) -> None:
    supervisor = start(folder, ("a", "0", "meek"), ("b", "2", "meek"), processes=4)
    began = time.monotonic()
    supervisor.send_signal(number)
    assert supervisor.wait(15) == 0
    assert time.monotonic() - began < 5
    assert (folder / "output").read_text() == "ended\n"
    assert family(folder) == []


def test_what_ignores_the_signal_is_killed_after_the_grace_time(folder: Path) -> None:
    supervisor = start(folder, ("a", "1", "stubborn"), ("b", "0", "meek"), processes=3, grace=1.0)
    began = time.monotonic()
    supervisor.send_signal(signal.SIGTERM)
    supervisor.send_signal(signal.SIGTERM)
    assert supervisor.wait(15) == 0
    assert 1.0 <= time.monotonic() - began < 8
    assert family(folder) == []


def test_orphans_in_sessions_of_their_own_are_found(folder: Path) -> None:
    supervisor = start(folder, ("orphaning", "1", "meek"), processes=2)
    (orphan,) = [pid for pid in family(folder) if (folder / "pids" / f"{pid}.orphaning-child").exists()]
    until(lambda: psutil.Process(orphan).ppid() == supervisor.pid)
    supervisor.send_signal(signal.SIGINT)
    assert supervisor.wait(15) == 0
    assert family(folder) == []


def test_a_dead_program_is_started_again(folder: Path) -> None:
    supervisor = start(folder, ("a", "0", "meek"), ("b", "0", "meek"), processes=2)
    (first,) = [pid for pid in family(folder) if (folder / "pids" / f"{pid}.a").exists()]
    os.kill(first, signal.SIGKILL)
    until(lambda: len(list((folder / "pids").glob("*.a"))) == 2 and len(family(folder)) == 2)
    supervisor.terminate()
    assert supervisor.wait(15) == 0
    assert family(folder) == []


def test_programs_do_not_outlive_a_killed_supervisor(folder: Path) -> None:
    supervisor = start(folder, ("a", "0", "stubborn"), ("b", "0", "meek"), processes=2)
    supervisor.kill()
    supervisor.wait()
    until(lambda: family(folder) == [], 5)


def test_programs_have_process_groups_and_logs_of_their_own(folder: Path) -> None:
    supervisor = start(folder, ("a", "0", "meek"), ("b", "0", "meek"), processes=2)
    groups = {os.getpgid(pid) for pid in family(folder)}
    assert len(groups) == 2
    assert os.getpgid(supervisor.pid) not in groups
    assert all("MARK" in psutil.Process(pid).environ() for pid in family(folder))
    assert sorted(log.name for log in (folder / "logs").iterdir()) == ["a.log", "b.log"]
    supervisor.terminate()
    assert supervisor.wait(15) == 0


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("group", [False, True], ids=["make-alone", "process-group"])
def test_a_signal_to_make_ends_every_descendant(folder: Path, number: signal.Signals, group: bool) -> None:
    words = command(folder, ("a", "1", "meek"), make=True)
    (folder / "run.sh").write_text("exec " + " ".join(f"'{word}'" for word in words) + "\n")
    (folder / "Makefile").write_text(f"run:\n\t@exec sh {folder}/run.sh\n")
    make = subprocess.Popen(["make", "-C", str(folder), "run"], start_new_session=True, stderr=subprocess.DEVNULL)
    until(lambda: len(family(folder)) == 2)
    if group:
        os.killpg(make.pid, number)
    else:
        make.send_signal(number)
    make.wait(15)
    until(lambda: family(folder) == [], 10)


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_a_killed_make_ends_every_descendant(folder: Path) -> None:
    words = command(folder, ("a", "1", "meek"), make=True)
    (folder / "run.sh").write_text("exec " + " ".join(f"'{word}'" for word in words) + "\n")
    (folder / "Makefile").write_text(f"run:\n\t@exec sh {folder}/run.sh\n")
    make = subprocess.Popen(["make", "-C", str(folder), "run"], start_new_session=True)
    until(lambda: len(family(folder)) == 2)
    make.kill()
    make.wait(5)
    until(lambda: family(folder) == [], 10)


HOPELESS = """
import sys, time
from pathlib import Path

from services.cli.supervisor import Program, Supervisor

command = (sys.executable, "-c", "print('no such thing'); raise SystemExit(1)")
program = Program("broken", command, {}, Path(sys.argv[1]))
supervisor = Supervisor([program])
supervisor.start()
deadline = time.monotonic() + 30
while supervisor.hopeless() is None and time.monotonic() < deadline:
    supervisor.tick()
    time.sleep(0.05)
found = supervisor.hopeless()
print(found.name if found else None, found.last_lines() if found else None)
supervisor.stop()
"""


def test_a_program_that_cannot_start_is_told_of(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", HOPELESS, str(tmp_path / "x.log")],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.startswith("broken no such thing")
