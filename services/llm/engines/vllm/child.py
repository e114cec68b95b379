"""A program that is kept running, in a process group of its own that ends with this process, however that ends."""

import contextlib
import logging
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from llactr_core.errors import UnavailableError

LOOK_S = 0.3
LONGEST_PAUSE_S = 30.0
STEADY_S = 120.0
END_WITHIN_S = 10.0
_WATCHDOG = Path(__file__).with_name("watchdog.py")

logger = logging.getLogger(__name__)


class Child:
    """A program that listens on a port of this machine: started, started again when it ends by itself, ended.

    Args:
        command: the program and its arguments.
        environment: all variables that it sees.
        port: where it listens; it is not started while something else does.
        log: the file that its output is added to.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], port: int, log: Path) -> None:
        self._command = list(command)
        self._environment = dict(environment)
        self._port = port
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._trouble = ""
        self._wanted = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Have it running from here on; returns at once."""
        with self._lock:
            self._trouble = ""
            self._wanted.set()
            if self._thread is None:
                self._thread = threading.Thread(target=self._keep, name="child", daemon=True)
                self._thread.start()

    def stop(self) -> None:
        """End its group, and return when it has ended; `start` begins anew."""
        with self._lock:
            self._wanted.clear()
            process = self._let_go()
            if process is not None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(END_WITHIN_S)

    def check(self) -> None:
        """Whether it runs; it may not listen yet.

        Raises:
            UnavailableError: it does not, with the reason.
        """
        process = self._process
        if process is None or process.poll() is not None:
            raise UnavailableError(f"{Path(self._command[0]).name} does not run: {self._trouble or 'it is stopped'}")

    def _keep(self) -> None:
        """The loop of a thread: look whether it runs, start it if not; longer pauses after quick ends."""
        failures, began = 0, 0.0
        while self._wanted.wait():
            with self._lock:
                ended = self._process is not None and self._process.poll() is not None
                if ended:
                    failures = 0 if time.monotonic() - began > STEADY_S else failures + 1
                    self._note_end()
                elif self._process is None and self._wanted.is_set():
                    began = time.monotonic()
                    self._spawn()
            time.sleep(min(2.0 ** (failures - 1), LONGEST_PAUSE_S) if ended and failures else LOOK_S)

    def _let_go(self) -> "subprocess.Popen[bytes] | None":
        """Close the pipe, upon which the watchdog ends the group; the process is no longer ours to look after."""
        process, self._process = self._process, None
        if process is not None and process.stdin is not None:
            process.stdin.close()
        return process

    def _note_end(self) -> None:
        process = self._let_go()
        status = process.returncode if process is not None else None
        self._trouble = f"it ended by itself with status {status}; {self._log.name} has its last words"
        logger.error("%s: %s (%s)", self._command[0], self._trouble, self._log)

    def _spawn(self) -> None:
        if _is_taken(self._port):
            self._trouble = f"port {self._port} is in use by another program"
            return
        watched = [sys.executable, "-I", str(_WATCHDOG), *self._command]
        try:
            self._log.parent.mkdir(parents=True, exist_ok=True)
            with self._log.open("ab") as log:
                self._process = subprocess.Popen(
                    watched,
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=log,
                    env=self._environment,
                    start_new_session=True,
                )
        except OSError as error:
            self._trouble = f"it cannot be started: {error.strerror}"


def _is_taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0
