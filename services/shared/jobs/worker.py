"""The process that does the jobs: one at a time, its lease renewed while the work runs in a thread of its own."""

import logging
import os
import secrets
import shutil
import socket
import threading
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from llactr_core.errors import JobCancelled, LlactrError, StorageFullError, UnavailableError
from services.shared.jobs.attempt_record import AttemptRecord
from services.shared.jobs.context import LOST, CleanUp, Handler, JobContext
from services.shared.jobs.full_disk import PAUSES_S, give_reserve, storage_full, take_reserve
from services.shared.jobs.job import Job
from services.shared.jobs.store import JobStore
from services.shared.jobs.upkeep import Upkeep
from services.shared.settings import ServiceSettings
from services.shared.telemetry import metrics
from services.shared.telemetry.worker_server import Pulse

FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 300.0
STOP_GRACE_S = 3.0
AWAY_S = 0.5

logger = logging.getLogger(__name__)


def run_worker(
    store: JobStore,
    handlers: Mapping[str, Handler],
    settings: ServiceSettings,
    stop: threading.Event,
    clean_ups: Mapping[str, CleanUp] | None = None,
    pulse: Pulse | None = None,
) -> None:
    """Claim and do jobs until `stop` is set; a job at work is then given back, and another worker goes on with it.

    Args:
        store: the jobs.
        handlers: what does a job, by kind.
        settings: of the service.
        stop: ends the work.
        clean_ups: what ends, by kind, that which a job has started elsewhere: called in place of the handler where the
            job was cancelled while it waited. It raises UnavailableError to be called again later.
        pulse: beaten in every round of the loop.
    """
    pulse = pulse or Pulse()
    owner = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
    upkeep = Upkeep(store.storage, _folder(settings), settings.keep_jobs_days)
    logger.info("worker %s waits for jobs", owner)
    while not stop.is_set():
        upkeep.when_due()
        pulse.beat()
        asked = time.monotonic()
        try:
            job = store.claim(owner, settings.lease_s, tuple(handlers))
            metrics.WORKER_HEARTBEAT.set_to_current_time()
        except UnavailableError:
            stop.wait(AWAY_S)
            continue
        if job is None:
            stop.wait(settings.poll_s)
            continue
        handler = handlers[job.kind]
        if job.cancel_requested:
            handler = partial(_clean_up, (clean_ups or {}).get(job.kind))
        _Attempt(store, job, handler, settings, pulse, asked).run(stop)
    logger.info("worker %s ends", owner)


def _clean_up(clean_up: CleanUp | None, context: JobContext) -> dict[str, Any]:
    """What is done with a job that was cancelled while it waited."""
    if clean_up is not None:
        try:
            clean_up(context)
        except UnavailableError:
            raise
        except Exception:
            logger.exception("job %s: what it has started elsewhere could not be ended", context.job.id)
    raise JobCancelled(f"job {context.job.id}: cancellation was asked for")


def _pause_s(waits: int) -> float:
    """Seconds that a job waits which has waited so often before."""
    return min(FIRST_WAIT_S * 2.0 ** min(waits, 20), LONGEST_WAIT_S)


def _waited_s(waits: int) -> float:
    """Seconds that so many waits have taken together."""
    return sum(map(_pause_s, range(waits)))


class _Attempt:
    """One claim of one job: the handler's thread, and the supervision around it. `claimed` is when it was asked for."""

    def __init__(
        self, store: JobStore, job: Job, handler: Handler, settings: ServiceSettings, pulse: Pulse, claimed: float
    ) -> None:
        self._store = store
        self._job = job
        self._owner = job.owner or ""
        self._handler = handler
        self._settings = settings
        self._pulse = pulse
        self._claimed = claimed
        self._record = AttemptRecord(job)
        self._context = JobContext(store, job, _folder(settings) / job.id, self._record)
        self._cancelled = job.cancel_requested
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
                self._pulse.beat()
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
        renewed = self._claimed
        self._context.trust_until(renewed + lease_s)
        tick = min(self._settings.poll_s, lease_s / 3)
        while thread.is_alive():
            thread.join(tick)
            self._pulse.beat()
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
            if not self._cancelled or error is None:  # without an error its thread still works
                return "released" if store.release(job, "queued") else "lost"
            return self._cancel()
        if isinstance(error, StorageFullError):
            return self._fail_on_full_disk(error)
        if isinstance(error, UnavailableError) and _waited_s(job.waits) < self._settings.max_wait_hours * 3600:
            delay = _pause_s(job.waits)
            logger.warning("job %s waits %.1f s: %s", job.id, delay, error.detail)
            return "waiting" if store.release(job, f"waiting: {error.detail}", delay, waited=True) else "lost"
        if self._cancelled and isinstance(error, UnavailableError):
            logger.error("job %s ends though what it has started elsewhere may go on: %s", job.id, error)
            return self._cancel()
        return self._fail(error)

    def _cancel(self) -> str:
        self._store.cancelled(self._job.id, owner=self._owner)
        self._clean()
        return "cancelled"

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
