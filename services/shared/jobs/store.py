"""Durable jobs in SQL: submitted once, done by one worker at a time (see `Claims`), read and cancelled by anybody.

Every time is the database's: the clocks of the machines need not agree.
"""

import uuid
from collections.abc import Collection
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from llactr_core.errors import ConflictError, NotFoundError, RateError
from services.shared.jobs.calls import Call, find_call, keep_call
from services.shared.jobs.claims import Claims, finish
from services.shared.jobs.job import Job, JobRow, State, job_of
from services.shared.storage.clock import time_of
from services.shared.storage.storage import Storage

MAX_ATTEMPTS = 20
MAX_QUEUED = 1000


class JobStore(Claims):
    """The table of jobs: what callers do with it, and what workers do.

    Args:
        storage: the database that has the table.
        max_queued: so many jobs may wait; more are refused.
        max_attempts: a job that was claimed so often, and neither ended nor got further than before, is failed.
        cleaned: the kinds of jobs that may have started something elsewhere, which a worker has to end.
    """

    def __init__(
        self,
        storage: Storage,
        max_queued: int = MAX_QUEUED,
        max_attempts: int = MAX_ATTEMPTS,
        cleaned: Collection[str] = (),
    ) -> None:
        super().__init__(storage, max_attempts)
        self.max_queued = max_queued
        self.cleaned = frozenset(cleaned)

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
        """Ask for a job's end: one that waits ends at once, one that runs as soon as its worker hears of it.

        What a waiting job of a kind in `cleaned` has started elsewhere is ended by the worker that takes it up next.

        Raises:
            NotFoundError: there is no such job.
            ConflictError: it has succeeded or failed already.
        """
        with self.storage.session() as session:
            row, now = _row(session, job_id, lock=True), time_of(session)
            if row.state in (State.SUCCEEDED, State.FAILED):
                raise ConflictError(f"job {job_id} has {row.state} already; there is nothing to cancel")
            if row.state == State.CANCELLED:
                return job_of(row)
            row.cancel_requested = 1
            row.updated_at = now
            if row.started_at is None or (row.state == State.QUEUED and row.kind not in self.cleaned):
                finish(row, State.CANCELLED, now)
            elif row.state == State.QUEUED:
                row.active_key, row.not_before = None, 0.0
            session.flush()
            return job_of(row)


def _row(session: Session, job_id: str, *, lock: bool = False) -> JobRow:
    row = session.get(JobRow, job_id, with_for_update=lock or None)
    if row is None:
        raise NotFoundError(f"there is no job {job_id!r}; GET /v1/jobs lists the known ones")
    return row


def _active(session: Session, active_key: str | None) -> JobRow | None:
    if active_key is None:
        return None
    return session.scalar(select(JobRow).where(JobRow.active_key == active_key))
