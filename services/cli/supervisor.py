"""Keeps the service processes alive, and ends every one of their descendants when it is told to stop."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from services.cli.descendants import adopt_orphans, end_descendants, reap_orphans
from services.cli.stopping import StopRequest

TICK_S = 0.1
HEALTHY_S = 30.0
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 15.0
HOPELESS_DEATHS = 4
LOG_LIMIT_BYTES = 10 * 1024 * 1024


@dataclass(frozen=True)
class Program:
    """A command to keep running, what to add to its environment, and the file that its output goes to."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    log: Path

    def last_lines(self, count: int = 8) -> str:
        """The end of its log, for an error message."""
        try:
            return "\n".join(self.log.read_text("utf-8", "replace").splitlines()[-count:])
        except OSError:
            return "(no output)"


class Supervisor:
    """Starts programs, starts a dead one again with a growing pause, and stops them all.

    Each program leads a process group of its own, so that a terminal's Ctrl-C reaches only the supervisor. All
    methods must be called from one thread: the kernel kills a child when the thread that started it ends.
    """

    def __init__(self, programs: Sequence[Program], *, grace_s: float = 12.0) -> None:
        self._children = [_Child(program) for program in programs]
        self._grace_s = grace_s

    def start(self) -> None:
        """Start every program."""
        adopt_orphans()
        for child in self._children:
            child.start()

    def tick(self) -> None:
        """Look after the children once: start again what has died and has paused long enough."""
        for child in self._children:
            child.look()
        reap_orphans({child.pid for child in self._children})

    def hopeless(self) -> Program | None:
        """A program that has died again and again right after its start."""
        return next((c.program for c in self._children if c.quick_deaths >= HOPELESS_DEATHS), None)

    def stop(self) -> None:
        """End all programs and all that they started: SIGTERM, and SIGKILL after the grace time."""
        end_descendants(self._grace_s)
        for child in self._children:
            child.close()


class _Child:
    def __init__(self, program: Program) -> None:
        self.program = program
        self.quick_deaths = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._start_at: float | None = None

    @property
    def pid(self) -> int:
        return 0 if self._process is None else self._process.pid

    def start(self) -> None:
        self._start_at = None
        self._started = time.monotonic()
        log = self.program.log
        log.parent.mkdir(parents=True, exist_ok=True)
        if log.exists() and log.stat().st_size > LOG_LIMIT_BYTES:
            log.replace(log.with_suffix(".log.1"))
        leash = (sys.executable, "-m", "services.cli.leash", str(os.getpid()))
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                (*leash, *self.program.command),
                env={**os.environ, **self.program.environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                process_group=0,
            )

    def look(self) -> None:
        now = time.monotonic()
        if self._start_at is not None:
            if now >= self._start_at:
                self.start()
        elif self._process is not None and self._process.poll() is not None:
            self.quick_deaths = 0 if now - self._started > HEALTHY_S else self.quick_deaths + 1
            pause = FIRST_PAUSE_S * 2.0 ** min(max(self.quick_deaths - 1, 0), 10)
            self._start_at = now + min(pause, LONGEST_PAUSE_S)

    def close(self) -> None:
        if self._process is not None:
            self._process.poll()


def supervise(
    supervisor: Supervisor,
    stop: StopRequest,
    each_tick: Callable[[], None] = lambda: None,
    ending: Callable[[], None] = lambda: None,
) -> None:
    """Start the programs and look after them until a stop is requested or `each_tick` raises; then end them all."""
    try:
        supervisor.start()
        while not stop.requested:
            supervisor.tick()
            each_tick()
            time.sleep(TICK_S)
    finally:
        try:
            ending()
        finally:
            supervisor.stop()
