"""The process that does the jobs: one at a time, its lease renewed while the work runs in a thread of its own."""

import logging
import math
import os
import secrets
import shutil
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from llactr_core.errors import JobCancelled, LlactrError, StorageFullError, UnavailableError
from llactr_core.progress import Progress
from services.shared.jobs.attempt_record import AttemptRecord
from services.shared.jobs.full_disk import PAUSES_S, give_reserve, storage_full, take_reserve
from services.shared.jobs.job import Job
from services.shared.jobs.store import JobStore
from services.shared.jobs.upkeep import Upkeep
from services.shared.settings import ServiceSettings
from services.shared.telemetry import metrics

REPORT_EVERY_S = 0.2
LONGEST_WAIT_S = 30.0
MAX_WAITS = 40
STOP_GRACE_S = 3.0
AWAY_S = 0.5

LOST = "the lease was lost to another worker"

logger = logging.getLogger(__name__)


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

    def end(self, reason: str) -> None:
        """Let the next report, check or sleep raise; the worker's own call."""
        self._ended = self._ended or reason
        self._wake.set()

    def trust_until(self, lease_ends: float) -> None:
        """The lease holds until then, by `time.monotonic`; the worker's own call."""
        self._lease_ends = lease_ends


Handler = Callable[[JobContext], dict[str, Any]]


def run_worker(
    store: JobStore, handlers: Mapping[str, Handler], settings: ServiceSettings, stop: threading.Event
) -> None:
    """Claim and do jobs until `stop` is set; a job at work is then given back, and another worker goes on with it."""
    owner = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
    upkeep = Upkeep(store.storage, _folder(settings), settings.keep_jobs_days)
    logger.info("worker %s waits for jobs", owner)
    while not stop.is_set():
        upkeep.when_due()
        try:
            job = store.claim(owner, settings.lease_s, tuple(handlers))
            metrics.WORKER_HEARTBEAT.set_to_current_time()
        except UnavailableError:
            stop.wait(AWAY_S)
            continue
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
        self._record = AttemptRecord(job)
        self._context = JobContext(store, job, _folder(settings) / job.id, self._record)
        self._cancelled = False
        self._result: dict[str, Any] | None = None
        self._error: BaseException | None = None

    def run(self, stop: threading.Event) -> None:
        """Do the job, and write how it ended."""
        with self._record.here():
            logger.info("job %s (%s), attempt %d", self._job.id, self._job.kind, self._job.attempts)
            # A daemon: native code that hears no signal must not keep the process from ending.
            thread = threading.Thread(target=self._work, name=f"job-{self._job.id[:8]}", daemon=True)
            thread.start()
            self._supervise(thread, stop)
            while not self._settled() and not stop.wait(AWAY_S):
                logger.info("job %s: its end is written as soon as the storage answers", self._job.id)
            self._record.end("lost")

    def _work(self) -> None:
        with self._record.here():
            try:
                take_reserve(self._context.directory)
                self._result = self._patiently()
            except BaseException as error:  # whatever it is, the supervisor decides
                self._error = error

    def _patiently(self) -> dict[str, Any]:
        """The handler's result. On a full disk it is called again a few times, and goes on where it was."""
        for pause in PAUSES_S:
            try:
                return self._handled()
            except StorageFullError as error:
                logger.warning("job %s waits %.1f s: %s", self._job.id, pause, error.detail)
                self._context.wait(error.detail, pause)
        return self._handled()

    def _handled(self) -> dict[str, Any]:
        folder = self._context.directory
        try:
            return dict(self._handler(self._context))
        except Exception as error:
            full = storage_full(error, folder)
            if full is None or full is error:
                raise
            raise full from error

    def _supervise(self, thread: threading.Thread, stop: threading.Event) -> None:
        lease_s = self._settings.lease_s
        renewed = time.monotonic()
        self._context.trust_until(renewed + lease_s)
        tick = min(self._settings.poll_s, lease_s / 3)
        while thread.is_alive():
            thread.join(tick)
            if stop.is_set():
                self._context.end("the worker shuts down")
                thread.join(STOP_GRACE_S)
                return
            asked = time.monotonic()
            try:
                held, cancel = self._store.holds(self._job.id, self._owner)
                metrics.WORKER_HEARTBEAT.set_to_current_time()
                if held and asked - renewed >= lease_s / 3:
                    held = self._store.renew(self._job.id, self._owner, lease_s)
                    metrics.LEASE_RENEWALS.labels("renewed" if held else "lost").inc()
                    renewed = asked
                    self._context.trust_until(renewed + lease_s)
            except UnavailableError as error:
                metrics.LEASE_RENEWALS.labels("failed").inc()
                give_reserve(self._context.directory, error)
                stop.wait(min(AWAY_S, lease_s / 3))
                continue
            if not held:
                self._context.end(LOST)
            elif cancel:
                self._cancelled = True
                self._context.end("cancellation was asked for")

    def _settled(self) -> bool:
        """Write how the job ended; False while the storage does not answer."""
        try:
            self._record.end(self._settle())
        except UnavailableError as error:
            give_reserve(self._context.directory, error)
            return False
        return True

    def _settle(self) -> str:
        job, store, error = self._job, self._store, self._error
        if error is None and self._result is not None:
            return self._succeed(self._result)
        if error is None or isinstance(error, JobCancelled):
            logger.info("job %s ends early: %s", job.id, error or "the worker shuts down")
            if not self._cancelled:
                return "released" if store.release(job, "queued") else "lost"
            store.cancelled(job.id, owner=self._owner)
            self._clean()
            return "cancelled"
        if isinstance(error, StorageFullError):
            return self._fail_on_full_disk(error)
        if isinstance(error, UnavailableError) and job.waits < MAX_WAITS:
            delay = min(2.0 ** min(job.waits, 10) * 0.5, LONGEST_WAIT_S)
            logger.warning("job %s waits %.1f s: %s", job.id, delay, error.detail)
            return "waiting" if store.release(job, f"waiting: {error.detail}", delay, waited=True) else "lost"
        return self._fail(error)

    def _succeed(self, result: dict[str, Any]) -> str:
        try:
            held = self._store.succeed(self._job.id, result, owner=self._owner)
        except UnavailableError:
            raise
        except Exception as error:  # JSON or the database cannot hold the result, and never will
            return self._fail(error)
        if not held:
            return "lost"
        logger.info("job %s succeeded", self._job.id)
        self._clean()
        return "succeeded"

    def _fail_on_full_disk(self, error: StorageFullError) -> str:
        """The job's files go first: the database may lie on the same disk."""
        held, _ = self._store.holds(self._job.id, self._owner)
        if held:
            self._clean()
        return self._fail(error)

    def _fail(self, error: BaseException) -> str:
        job_id = self._job.id
        if isinstance(error, LlactrError):
            logger.error("job %s failed: %s", job_id, error.detail)
        else:
            logger.error("job %s failed", job_id, exc_info=error)
            error = LlactrError("an internal error; its traceback is in the worker's log")
        return "failed" if self._store.fail(job_id, error, owner=self._owner) else "lost"

    def _clean(self) -> None:
        shutil.rmtree(self._context.directory, ignore_errors=True)


def _folder(settings: ServiceSettings) -> Path:
    return settings.state / "jobs"
