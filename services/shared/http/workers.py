"""Several processes of one API on one listening socket: the parent starts them, replaces those that end, ends them all.

The parent binds the socket and serves nothing; every worker accepts from it. What waits in its queue therefore belongs
to no worker, and is lost with none (as it would be with a socket each, by SO_REUSEPORT). Each worker is a fresh process
with a channel to the parent, on which it says `READY` and `LEAVING`, and hears `GO` and `END`; its end is that of the
parent. One that is told to end serves on until another one does in its place (`GO`), and drains only then.
"""

import logging
import math
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from tempfile import TemporaryDirectory
from types import FrameType

from services.shared.http.draining import GRACE_S, HANDOVER_S
from services.shared.http.starting import PLACE
from services.shared.telemetry import several

READY, LEAVING, GO, END = b"r", b"l", b"g", b"e"
BACKLOG = 2048
TICK_S = 0.1
HEALTHY_S = 10.0
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 15.0
START_S = 120.0
LEEWAY_S = 4.0

logger = logging.getLogger(__name__)


class Place:
    """A worker's place below its parent: the socket that all share, and the channel."""

    def __init__(self, listener: socket.socket, channel: socket.socket) -> None:
        self.listener = listener
        self._channel = channel
        self._ends_all = False
        self._is_free = False

    @classmethod
    def given(cls) -> "Place | None":
        """The place that the parent gave to this process; None where it has no parent."""
        descriptors = os.environ.pop(PLACE, None)
        if descriptors is None:
            return None
        listener, channel = (int(one) for one in descriptors.split(","))
        return cls(Listener(fileno=listener), socket.socket(fileno=channel))

    def ends_all(self) -> bool:
        """Whether the parent ends all of its workers."""
        return self._ends_all

    def is_free(self) -> bool:
        """Whether this worker may go: another one serves in its place, or all end."""
        return self._is_free

    def follow(self) -> None:
        """End, as by SIGTERM, when the parent says so or is gone."""
        threading.Thread(target=self._follow, name="parent", daemon=True).start()

    def say(self, word: bytes) -> None:
        """Tell the parent, if it is there."""
        try:
            self._channel.send(word)
        except OSError:
            logger.warning("the parent of this process is gone")

    def _follow(self) -> None:
        try:
            while (word := self._channel.recv(1)) == GO:
                self._is_free = True
            self._ends_all = word == END
        finally:
            self._is_free = True
            os.kill(os.getpid(), signal.SIGTERM)


class Listener(socket.socket):
    """A listening socket whose queue keeps its length: event loops would shrink it to what they accept at once."""

    def listen(self, _backlog: int = 0) -> None:
        """Make the queue as long as the parent made it."""
        super().listen(BACKLOG)


@dataclass
class _Worker:
    number: int
    process: subprocess.Popen[bytes]
    channel: socket.socket
    started: float = field(default_factory=time.monotonic)
    is_ready: bool = False
    left: float | None = None
    freed: float | None = None

    @property
    def is_leaving(self) -> bool:
        return self.left is not None

    @property
    def drains_from(self) -> float:
        """When it begins to drain at the latest, in seconds of `time.monotonic`; never while it is not leaving."""
        return math.inf if self.left is None else self.freed or self.left + HANDOVER_S

    def leave(self) -> None:
        """From here on another one is to serve in its place."""
        self.left = self.left or time.monotonic()

    def free(self) -> None:
        """Let it go."""
        self.freed = time.monotonic()
        self.say(GO)

    def say(self, word: bytes) -> None:
        try:
            self.channel.send(word)
        except OSError:
            logger.info("API process %d has ended", self.process.pid)

    def hear(self) -> None:
        try:
            words = self.channel.recv(16)
        except OSError:  # nothing was said
            return
        self.is_ready = self.is_ready or READY in words
        if LEAVING in words:
            self.leave()


class Workers:
    """Keeps `count` workers on the socket until SIGTERM or SIGINT; SIGHUP replaces them one after the other.

    Args:
        listener: the bound socket.
        count: how many serve at a time.
        drain_s: the most seconds that one drains.
        command: what starts a worker; by default what started this process.
    """

    def __init__(self, listener: socket.socket, count: int, drain_s: float, command: list[str] | None = None) -> None:
        self._listener = listener
        self._count = count
        self._stop_s = drain_s + GRACE_S + LEEWAY_S
        self._command = command or [sys.executable, *sys.orig_argv[1:]]
        self._workers: list[_Worker] = []
        self._metrics = ""
        self._deaths = 0
        self._start_at = 0.0
        self._was_ready = False
        self._is_ending = False
        self._renewal_asked = False
        self._outdated: list[_Worker] = []
        self._successor: _Worker | None = None

    def run(self) -> int:
        """Serve; the exit status: 0, or that of a worker where none could ever start."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_end)
        signal.signal(signal.SIGHUP, self._on_renew)
        with TemporaryDirectory(prefix="llactr-metrics-", ignore_cleanup_errors=True) as self._metrics:
            status = 0
            while not self._is_ending and status == 0:
                self._renew()
                status = self._look()
                time.sleep(TICK_S)
            self._end_all()
        return status

    def _on_end(self, _number: int, _frame: FrameType | None) -> None:
        self._is_ending = True

    def _on_renew(self, _number: int, _frame: FrameType | None) -> None:
        self._renewal_asked = True

    def _look(self) -> int:
        """Take note of what the workers said and which ended, and fill the gaps; a status other than 0 is hopeless."""
        for worker in list(self._workers):
            worker.hear()
            self._was_ready = self._was_ready or worker.is_ready
            status = worker.process.poll()
            if status is not None:
                self._buried(worker, status)
                if status > 0 and not self._was_ready:
                    return status
            elif time.monotonic() > worker.drains_from + self._stop_s:
                logger.error("API process %d did not end in %.0f s and is killed", worker.process.pid, self._stop_s)
                worker.process.kill()
        self._free_leaving()
        if time.monotonic() >= self._start_at:
            has_successor = self._successor in self._workers and len(self._outdated) > 0
            for _ in range(self._count + has_successor - sum(not worker.is_leaving for worker in self._workers)):
                self._start()
        return 0

    def _free_leaving(self) -> None:
        if sum(worker.is_ready and not worker.is_leaving for worker in self._workers) >= self._count:
            for worker in self._workers:
                if worker.is_leaving and worker.freed is None:
                    worker.free()

    def _start(self) -> _Worker:
        used = {worker.number for worker in self._workers}
        number = next(one for one in range(len(used) + 1) if one not in used)
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        shared = (self._listener.fileno(), theirs.fileno())
        with theirs:
            process = subprocess.Popen(
                self._command,
                env={
                    **os.environ,
                    **several.environment(self._metrics, number),
                    PLACE: ",".join(map(str, shared)),
                },
                pass_fds=shared,
                process_group=0,  # a terminal's Ctrl-C is for the parent
            )
        self._workers.append(_Worker(number, process, ours))
        logger.info("API process %d starts", process.pid)
        return self._workers[-1]

    def _buried(self, worker: _Worker, status: int) -> None:
        self._workers.remove(worker)
        worker.channel.close()
        several.forget(self._metrics, worker.number)
        if worker.is_leaving:
            return
        logger.warning("API process %d ended by itself, status %d", worker.process.pid, status)
        is_healthy = worker.is_ready and time.monotonic() - worker.started > HEALTHY_S
        self._deaths = 0 if is_healthy else self._deaths + 1
        if self._deaths:
            pause = min(FIRST_PAUSE_S * 2.0 ** min(self._deaths - 1, 10), LONGEST_PAUSE_S)
            self._start_at = time.monotonic() + pause

    def _renew(self) -> None:
        """One step of replacing every worker: the new one is ready before the old one is told to go."""
        self._outdated = [one for one in self._outdated if one in self._workers and not one.is_leaving]
        if self._successor is not None:
            self._look_at(self._successor)
        elif self._outdated:
            self._successor = self._start()
        elif self._renewal_asked:
            self._renewal_asked = False
            self._outdated = [one for one in self._workers if not one.is_leaving]

    def _look_at(self, new: _Worker) -> None:
        if new.is_ready:
            self._successor = None
            if self._outdated:
                old = self._outdated.pop(0)
                old.leave()
                old.process.terminate()
        elif new not in self._workers or time.monotonic() > new.started + START_S:
            logger.error("API process %d does not start; those before it serve on", new.process.pid)
            self._successor, self._outdated = None, []
            if new in self._workers:
                new.leave()
                new.process.kill()

    def _end_all(self) -> None:
        self._listener.close()
        for worker in self._workers:
            worker.say(END)
        if not self._have_ended(self._stop_s):
            logger.error("an API process did not end in %.0f s and is killed", self._stop_s)
        for worker in self._workers:
            worker.process.kill()
            worker.process.wait()

    def _have_ended(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while any(worker.process.poll() is None for worker in self._workers):
            if time.monotonic() > deadline:
                return False
            time.sleep(TICK_S)
        return True
