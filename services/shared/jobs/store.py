"""Durable jobs in SQL: submitted once, claimed by one worker at a time, taken over when that worker goes silent.

A claim is a row update that only one process can win. It gives the worker an `owner` token; every later write of
that worker names the token, so a worker that lost its lease cannot change a job that another one now runs. Every time
is the database's: the clocks of the workers' machines need not agree.
"""

import json
import math
import secrets
import uuid
from collections.abc import Collection
from typing import Any

from sqlalchemy import CursorResult, case, func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from llactr_core.errors import ConflictError, LlactrError, NotFoundError, RateError
from llactr_core.progress import Progress
from services.shared.http.problems import problem_of
from services.shared.jobs.calls import Call, find_call, keep_call
from services.shared.jobs.job import FINAL, Job, JobRow, State, job_of
from services.shared.jobs.turns import next_job
from services.shared.storage.clock import DatabaseTime, time_of
from services.shared.storage.storage import Storage, hold

MAX_ATTEMPTS = 20
MAX_QUEUED = 1000
CLAIM_LOCK = 0x11AC73


class JobStore:
    """The table of jobs.

    Args:
        storage: the database that has the table.
        max_queued: so many jobs may wait; more are refused.
        max_attempts: a job that was claimed so often, and neither ended nor got further than before, is failed.
    """

    def __init__(self, storage: Storage, max_queued: int = MAX_QUEUED, max_attempts: int = MAX_ATTEMPTS) -> None:
        self.storage = storage
        self.max_queued = max_queued
        self.max_attempts = max_attempts

    def submit(
        self,
        kind: str,
        payload: dict[str, Any],
        call: Call | None = None,
        *,
        active_key: str | None = None,
        lane: str = "",
        traceparent: str | None = None,
    ) -> Job:
        """Queue a job, or find the one that stands for this call already.

        The same call again gives the job of the first one, whatever its state. The same active key gives the job that
        is queued or running under it, and that job stands for the call from then on.

        Args:
            kind: names the handler that does it.
            payload: what the handler is given; plain JSON.
            call: the call that asks for it, where its caller may repeat it.
            active_key: what the job does; only one job that does it waits or runs at a time.
            lane: jobs of one lane are done one after the other, in their order, and lanes take turns.
            traceparent: the W3C trace context of the call.

        Raises:
            ConflictError: the call's key was used for another call.
            RateError: too many jobs wait already.
        """
        for _ in range(3):
            known = self.known(call)
            if known is not None:
                return known
            row = JobRow(kind=kind, payload=payload, active_key=active_key, lane=lane, traceparent=traceparent)
            try:
                with self.storage.session() as session:
                    standing = _active(session, active_key) or self._inserted(session, row)
                    keep_call(session, call, standing.id)
                    return job_of(standing)
            except IntegrityError:
                continue  # another process was first: its job is found in the next round
        raise ConflictError("two calls with the same keys collided three times; send the call again")

    def known(self, call: Call | None) -> Job | None:
        """The job that stands for an equal earlier call, or None.

        Raises:
            ConflictError: the call's key was used for another call.
        """
        if call is None:
            return None
        with self.storage.reading() as session:
            found = find_call(session, call)
            row = session.get(JobRow, found.job_id) if found and found.job_id else None
            return job_of(row) if row else None

    def answer(self, call: Call | None) -> dict[str, Any] | None:
        """The answer that stands for an equal earlier call which needed no job, or None.

        Raises:
            ConflictError: the call's key was used for another call.
        """
        if call is None:
            return None
        with self.storage.reading() as session:
            found = find_call(session, call)
            return found.answer if found else None

    def keep_answer(self, call: Call | None, answer: dict[str, Any]) -> None:
        """Let an answer stand for a call that needs no job, unless something stands for it already."""
        try:
            with self.storage.session() as session:
                keep_call(session, call, answer=answer)
        except IntegrityError:
            return

    def _inserted(self, session: Session, row: JobRow) -> JobRow:
        waiting = session.scalar(select(func.count()).where(JobRow.state == State.QUEUED)) or 0
        if waiting >= self.max_queued:
            raise RateError(f"{waiting} jobs wait already, and {self.max_queued} may; send the call again later")
        row.id = uuid.uuid4().hex
        row.created_at = row.updated_at = time_of(session)
        session.add(row)
        session.flush()
        return row

    def get(self, job_id: str) -> Job:
        """The job as it is now.

        Raises:
            NotFoundError: there is no such job.
        """
        with self.storage.reading() as session:
            return job_of(_row(session, job_id))

    def peek(self, job_id: str) -> Job:
        """The job as it is now, without its payload.

        Raises:
            NotFoundError: there is no such job.
        """
        with self.storage.reading() as session:
            return job_of(_row(session, job_id), with_payload=False)

    def recent(self, limit: int = 50, lanes: Collection[str] | None = None) -> list[Job]:
        """The newest jobs, newest first; of these lanes only, where some are given."""
        with self.storage.reading() as session:
            query = select(JobRow).order_by(JobRow.created_at.desc(), JobRow.id).limit(limit)
            if lanes is not None:
                query = query.where(JobRow.lane.in_(list(lanes)))
            return [job_of(row, with_payload=False) for row in session.scalars(query)]

    def cancel(self, job_id: str) -> Job:
        """Ask for a job's end: a waiting one ends at once, a running one as soon as its worker hears of it.

        Raises:
            NotFoundError: there is no such job.
            ConflictError: it has succeeded or failed already.
        """
        with self.storage.session() as session:
            row, now = _row(session, job_id, lock=True), time_of(session)
            if row.state in (State.SUCCEEDED, State.FAILED):
                raise ConflictError(f"job {job_id} has {row.state} already; there is nothing to cancel")
            row.cancel_requested = 1
            row.updated_at = now
            if row.state == State.QUEUED or (row.state == State.RUNNING and row.lease_until < now):
                _finish(row, State.CANCELLED, now)
            session.flush()
            return job_of(row)

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
        if row.cancel_requested:
            _finish(row, State.CANCELLED, now)
            return False
        if row.fruitless >= self.max_attempts:
            row.error = problem_of(
                LlactrError(
                    f"given up: {row.fruitless} attempts in a row got no further and ended without a word; see the logs"
                )
            )
            _finish(row, State.FAILED, now)
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


def _row(session: Session, job_id: str, *, lock: bool = False) -> JobRow:
    row = session.get(JobRow, job_id, with_for_update=lock or None)
    if row is None:
        raise NotFoundError(f"there is no job {job_id!r}; GET /v1/jobs lists the known ones")
    return row


def _active(session: Session, active_key: str | None) -> JobRow | None:
    if active_key is None:
        return None
    return session.scalar(select(JobRow).where(JobRow.active_key == active_key))


def _finish(row: JobRow, state: State, now: float) -> None:
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
