"""What a handler sees of the job that it does."""

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from llactr_core.errors import JobCancelled, UnavailableError
from llactr_core.progress import Progress
from services.shared.accelerators.gpus import accelerators, free_memory
from services.shared.accelerators.turn import turn
from services.shared.jobs.attempt_record import AttemptRecord
from services.shared.jobs.job import Job
from services.shared.jobs.store import JobStore

REPORT_EVERY_S = 0.2

LOST = "the lease was lost to another worker"
IN_USE = "another job has the accelerator"


class JobContext:
    """What a handler sees of its job: the payload, a folder that outlives attempts, and a way to report.

    `report`, `check` and `sleep` raise JobCancelled when the work should end: cancellation was asked for, the worker
    shuts down, or the lease was lost to another worker. They wait while nobody can tell whether the lease still holds:
    the database is away for longer than the lease lasts, and another worker may have taken the job over.
    """

    def __init__(self, store: JobStore, job: Job, directory: Path, record: AttemptRecord | None = None) -> None:
        self.job = job
        self.payload: dict[str, Any] = job.payload
        self.directory = directory
        self._store = store
        self._record = record
        self._ended: str | None = None
        self._lease_ends = math.inf
        self._wake = threading.Event()
        self._last_at = 0.0
        self._last = Progress("", job.progress)

    def report(self, progress: Progress) -> None:
        """Write where the work stands, at most every 0.2 s unless the stage changes; not while the database is away.

        Raises:
            JobCancelled: the work should end.
        """
        self.check()
        now = time.monotonic()
        if now - self._last_at < REPORT_EVERY_S and progress.stage == self._last.stage:
            return
        self._last_at, self._last = now, progress
        if self._record is not None:
            self._record.stage(progress.stage)
        with suppress(UnavailableError):
            if not self._store.report(self.job.id, progress, owner=self.job.owner):
                self.end(LOST)
        self.check()

    def check(self) -> None:
        """Go on, or end.

        Raises:
            JobCancelled: the work should end.
        """
        while self._ended is None and time.monotonic() > self._lease_ends:
            self._wake.wait(REPORT_EVERY_S)
        if self._ended is not None:
            raise JobCancelled(f"job {self.job.id}: {self._ended}")

    def sleep(self, seconds: float) -> None:
        """Wait, but not longer than until the work should end.

        Raises:
            JobCancelled: the work should end.
        """
        self._wake.wait(seconds)
        self.check()

    def wait(self, reason: str, seconds: float) -> None:
        """Sleep, and let the job's stage say why.

        Raises:
            JobCancelled: the work should end.
        """
        self.report(replace(self._last, stage=f"waiting: {reason}", eta_s=None))
        self.sleep(seconds)

    @contextmanager
    def turn(self, device: str) -> Iterator[None]:
        """Hold the GPU that a device names, alone among the jobs of this machine; on a CPU nothing is held.

        Raises:
            JobCancelled: the work should end.
        """
        names = accelerators(device)
        with turn(names, partial(self.wait, IN_USE)):
            try:
                yield
            finally:
                if names:
                    free_memory()

    def end(self, reason: str) -> None:
        """Let the next report, check or sleep raise; the worker's own call."""
        self._ended = self._ended or reason
        self._wake.set()

    def trust_until(self, lease_ends: float) -> None:
        """The lease holds until then, by `time.monotonic`; the worker's own call."""
        self._lease_ends = lease_ends


Handler = Callable[[JobContext], dict[str, Any]]
CleanUp = Callable[[JobContext], None]
