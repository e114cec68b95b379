"""The process that does the jobs: one at a time, its lease renewed while the work runs in a thread of its own."""

import logging
import os
import secrets
import shutil
import socket
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sqlalchemy.exc import OperationalError

from llactr_core.errors import JobCancelled, LlactrError, UnavailableError
from llactr_core.progress import Progress
from services.shared import logs
from services.shared.job import Job
from services.shared.jobs import JobStore
from services.shared.settings import ServiceSettings

REPORT_EVERY_S = 0.2
LONGEST_WAIT_S = 30.0
MAX_WAITS = 40
STOP_GRACE_S = 3.0

logger = logging.getLogger(__name__)


class JobContext:
    """What a handler sees of its job: the payload, a folder that outlives attempts, and a way to report.

    `report`, `check` and `sleep` raise JobCancelled when the work should end: cancellation was asked for, the worker
    shuts down, or the lease was lost to another worker.
    """

    def __init__(self, store: JobStore, job: Job, directory: Path) -> None:
        self.job = job
        self.payload: dict[str, Any] = job.payload
        self.directory = directory
        self._store = store
        self._ended: str | None = None
        self._wake = threading.Event()
        self._last: tuple[float, str] = (0.0, "")

    def report(self, progress: Progress) -> None:
        """Write where the work stands, at most every 0.2 s unless the stage changes.

        Raises:
            JobCancelled: the work should end.
        """
        self.check()
        now = time.monotonic()
        if now - self._last[0] < REPORT_EVERY_S and progress.stage == self._last[1]:
            return
        self._last = (now, progress.stage)
        if not self._store.report(self.job.id, progress, owner=self.job.owner):
            self.end("the lease was lost to another worker")
        self.check()

    def check(self) -> None:
        """Go on, or end.

        Raises:
            JobCancelled: the work should end.
        """
        if self._ended is not None:
            raise JobCancelled(f"job {self.job.id}: {self._ended}")

    def sleep(self, seconds: float) -> None:
        """Wait, but not longer than until the work should end.

        Raises:
            JobCancelled: the work should end.
        """
        self._wake.wait(seconds)
        self.check()

    def end(self, reason: str) -> None:
        """Let the next report, check or sleep raise; the worker's own call."""
        self._ended = self._ended or reason
        self._wake.set()


Handler = Callable[[JobContext], dict[str, Any]]


def run_worker(
    store: JobStore, handlers: Mapping[str, Handler], settings: ServiceSettings, stop: threading.Event
) -> None:
    """Claim and do jobs until `stop` is set; a job at work is then given back, and another worker goes on with it."""
    owner = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
    logger.info("worker %s waits for jobs", owner)
    while not stop.is_set():
        try:
            job = store.claim(owner, settings.lease_s, tuple(handlers))
        except OperationalError as error:
            logger.error("the storage does not answer: %s", error)
            job = None
        if job is None:
            stop.wait(settings.poll_s)
            continue
        _Attempt(store, job, handlers[job.kind], settings).run(stop)
    logger.info("worker %s ends", owner)


class _Attempt:
    """One claim of one job: the handler's thread, and the supervision around it."""

    def __init__(self, store: JobStore, job: Job, handler: Handler, settings: ServiceSettings) -> None:
        self._store = store
        self._job = job
        self._owner = job.owner or ""
        self._handler = handler
        self._settings = settings
        directory = settings.state / "jobs" / job.id
        directory.mkdir(parents=True, exist_ok=True)
        self._context = JobContext(store, job, directory)
        self._cancelled = False
        self._result: dict[str, Any] | None = None
        self._error: BaseException | None = None

    def run(self, stop: threading.Event) -> None:
        """Do the job, and write how it ended."""
        token = logs.job_id.set(self._job.id)
        logger.info("job %s (%s), attempt %d", self._job.id, self._job.kind, self._job.attempts)
        try:
            # A daemon: native code that hears no signal must not keep the process from ending.
            thread = threading.Thread(target=self._work, name=f"job-{self._job.id[:8]}", daemon=True)
            thread.start()
            self._supervise(thread, stop)
            self._settle()
        except OperationalError as error:
            logger.error("how the job ended could not be written (it will be taken over): %s", error)
        finally:
            logs.job_id.reset(token)

    def _work(self) -> None:
        token = logs.job_id.set(self._job.id)
        try:
            self._result = dict(self._handler(self._context))
        except BaseException as error:  # whatever it is, the supervisor decides
            self._error = error
        finally:
            logs.job_id.reset(token)

    def _supervise(self, thread: threading.Thread, stop: threading.Event) -> None:
        renew_every = self._settings.lease_s / 3
        renewed = time.monotonic()
        tick = min(self._settings.poll_s, renew_every)
        while thread.is_alive():
            thread.join(tick)
            if stop.is_set():
                self._context.end("the worker shuts down")
                thread.join(STOP_GRACE_S)
                return
            try:
                held, cancel = self._store.holds(self._job.id, self._owner)
                if held and time.monotonic() - renewed >= renew_every:
                    held = self._store.renew(self._job.id, self._owner, self._settings.lease_s)
                    renewed = time.monotonic()
            except OperationalError as error:
                logger.warning("the lease could not be looked at: %s", error)
                continue
            if not held:
                self._context.end("the lease was lost to another worker")
            elif cancel:
                self._cancelled = True
                self._context.end("cancellation was asked for")

    def _settle(self) -> None:
        job, store, error = self._job, self._store, self._error
        if error is None and self._result is not None:
            if store.succeed(job.id, self._result, owner=self._owner):
                logger.info("job %s succeeded", job.id)
                self._clean()
        elif error is None or isinstance(error, JobCancelled):
            if self._cancelled:
                store.cancelled(job.id, owner=self._owner)
                self._clean()
            else:
                store.release(job, "queued")
            logger.info("job %s ended early: %s", job.id, error or "the worker shuts down")
        elif isinstance(error, (UnavailableError, OperationalError)) and job.waits < MAX_WAITS:
            detail = error.detail if isinstance(error, UnavailableError) else "the storage does not answer"
            delay = min(2.0 ** min(job.waits, 10) * 0.5, LONGEST_WAIT_S)
            store.release(job, f"waiting: {detail}", delay, waited=True)
            logger.warning("job %s waits %.1f s: %s", job.id, delay, detail)
        elif isinstance(error, LlactrError):
            store.fail(job.id, error, owner=self._owner)
            logger.error("job %s failed: %s", job.id, error.detail)
        else:
            logger.error("job %s failed", job.id, exc_info=error)
            store.fail(
                job.id, LlactrError("an internal error; its traceback is in the worker's log"), owner=self._owner
            )

    def _clean(self) -> None:
        shutil.rmtree(self._context.directory, ignore_errors=True)
