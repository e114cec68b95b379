"""The claims of workers on jobs: one worker at a time has a job, and another takes over when that one goes silent.

A claim is a row update that only one process can win. It gives the worker an `owner` token; every later write of
that worker names the token, so a worker that lost its lease cannot change a job that another one now runs.
"""

import json
import math
import secrets
from collections.abc import Collection
from typing import Any

from sqlalchemy import CursorResult, case, update

from llactr_core.errors import LlactrError
from llactr_core.progress import Progress
from services.shared.http.problems import problem_of
from services.shared.jobs.job import FINAL, Job, JobRow, State, job_of
from services.shared.jobs.turns import next_job
from services.shared.storage.clock import DatabaseTime, time_of
from services.shared.storage.storage import Storage, hold

CLAIM_LOCK = 0x11AC73


class Claims:
    """What workers do with the table of jobs: they take a job, say where it stands, and end it or give it back."""

    def __init__(self, storage: Storage, max_attempts: int) -> None:
        self.storage = storage
        self.max_attempts = max_attempts

    def claim(self, owner: str, lease_s: float, kinds: Collection[str] | None = None) -> Job | None:
        """Take the job whose turn it is (see `next_job`); None when there is none.

        A job that was claimed `max_attempts` times without getting further is failed: it takes its workers down.
        """
        with self.storage.reading() as session:  # an idle worker takes no write lock
            if session.scalar(next_job(kinds).with_only_columns(JobRow.id)) is None:
                return None
        while True:
            with self.storage.session() as session:
                hold(session, CLAIM_LOCK)  # two claims at once would both see a lane in which nothing runs
                row = session.scalar(next_job(kinds).with_for_update(skip_locked=True, of=JobRow))
                if row is None:
                    return None
                if self._take(row, owner, time_of(session), lease_s):
                    session.flush()
                    return job_of(row)

    def _take(self, row: JobRow, owner: str, now: float, lease_s: float) -> bool:
        if row.fruitless >= self.max_attempts:
            given_up = (
                f"given up: {row.fruitless} attempts in a row got no further and ended without a word; see the logs"
            )
            row.error = problem_of(LlactrError(given_up))
            finish(row, State.CANCELLED if row.cancel_requested else State.FAILED, now)
            return False
        row.state = State.RUNNING.value
        row.stage = "starting" if row.attempts == 0 else "resuming"
        row.attempts += 1
        row.fruitless += 1
        row.owner = f"{owner[:180]}/{secrets.token_hex(4)}"
        row.lease_until = now + lease_s
        row.started_at = row.started_at or now
        row.updated_at = now
        return True

    def renew(self, job_id: str, owner: str, lease_s: float) -> bool:
        """Prolong the lease of a claim; False when the claim is no longer the holder's."""
        return self._update(job_id, owner, {"lease_until": DatabaseTime() + lease_s})

    def holds(self, job_id: str, owner: str) -> tuple[bool, bool]:
        """Whether the claim still stands, and whether cancellation was asked for."""
        with self.storage.reading() as session:
            row = session.get(JobRow, job_id)
            if row is None:
                return False, False
            return row.state == State.RUNNING and row.owner == owner, bool(row.cancel_requested)

    def report(self, job_id: str, progress: Progress, *, owner: str | None = None) -> bool:
        """Write where the job stands; False when the claim is no longer the holder's."""
        done = min(max(_finite(progress.done) or 0.0, 0.0), 1.0)
        is_further = JobRow.furthest < done
        return self._update(
            job_id,
            owner,
            {
                "stage": progress.stage,
                "progress": done,
                "furthest": case((is_further, done), else_=JobRow.furthest),
                "fruitless": case((is_further, 0), else_=JobRow.fruitless),
                "step": progress.step,
                "loss": _finite(progress.loss),
                "eta_s": _finite(progress.eta_s),
            },
        )

    def succeed(self, job_id: str, result: dict[str, Any], *, owner: str | None = None) -> bool:
        """End the job with its result; False when the claim is no longer the holder's.

        Raises:
            ValueError, TypeError: JSON cannot hold the result.
        """
        json.dumps(result, allow_nan=False)
        values = {"stage": "done", "progress": 1.0, "eta_s": 0.0, "result": result}
        return self._end(job_id, owner, State.SUCCEEDED, values)

    def fail(self, job_id: str, error: LlactrError, *, owner: str | None = None) -> bool:
        """End the job with an error; False when the claim is no longer the holder's."""
        return self._end(job_id, owner, State.FAILED, {"stage": "failed", "eta_s": None, "error": problem_of(error)})

    def cancelled(self, job_id: str, *, owner: str | None = None) -> bool:
        """End the job because its cancellation was asked for; False when the claim is no longer the holder's."""
        return self._end(job_id, owner, State.CANCELLED, {"stage": "cancelled", "eta_s": None})

    def release(self, job: Job, stage: str, delay_s: float = 0.0, *, waited: bool = False) -> bool:
        """Give a claim back: the job waits again, at least `delay_s` seconds, and the attempt is not counted."""
        return self._update(
            job.id,
            job.owner,
            {
                "state": State.QUEUED.value,
                "stage": stage,
                "owner": None,
                "attempts": max(job.attempts - 1, 0),
                "fruitless": case((JobRow.fruitless > 0, JobRow.fruitless - 1), else_=0),
                "waits": job.waits + int(waited),
                "lease_until": 0.0,
                "not_before": DatabaseTime() + delay_s if delay_s else 0.0,
            },
        )

    def _end(self, job_id: str, owner: str | None, state: State, values: dict[str, object]) -> bool:
        ending = {"state": state.value, "active_key": None, "owner": None, "finished_at": DatabaseTime()}
        return self._update(job_id, owner, {**ending, **values})

    def _update(self, job_id: str, owner: str | None, values: dict[str, object]) -> bool:
        statement = update(JobRow).where(JobRow.id == job_id, JobRow.state.not_in([s.value for s in FINAL]))
        if owner is not None:
            statement = statement.where(JobRow.state == State.RUNNING, JobRow.owner == owner)
        clean = {name: _clean(value) if isinstance(value, str) else value for name, value in values.items()}
        with self.storage.session() as session:
            done = session.execute(statement.values({**clean, "updated_at": DatabaseTime()}))
            return isinstance(done, CursorResult) and done.rowcount == 1


def finish(row: JobRow, state: State, now: float) -> None:
    """End a job at the time `now` of the database."""
    row.state = state.value
    row.stage = state.value
    row.active_key = None
    row.owner = None
    row.eta_s = None
    row.finished_at = row.updated_at = now


def _finite(number: float | None) -> float | None:
    return number if number is not None and math.isfinite(number) else None


def _clean(text: str) -> str:
    """The text without what PostgreSQL refuses: NUL, and half a surrogate pair."""
    return text.replace("\0", "").encode("utf-8", "replace").decode()
