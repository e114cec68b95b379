"""The schedules in SQL. What moves a schedule on names the state that it saw, so of two workers one moves it."""

import logging
from collections.abc import Mapping

from pydantic import ValidationError
from sqlalchemy import CursorResult, select, update
from sqlalchemy.orm import Session

from llactr_core.errors import NotFoundError
from services.ctr.payloads import RefreshPlan
from services.ctr.registry.tables import ModelRow, ScheduleRow
from services.ctr.schedule.records import HOUR_S, Schedule, ScheduleRequest
from services.shared.jobs.job import FINAL, JobRow
from services.shared.storage.clock import time_of
from services.shared.storage.storage import Storage

logger = logging.getLogger(__name__)


class ScheduleStore:
    """Reads and writes the schedules. Every method is one transaction."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def put(self, model: str, request: ScheduleRequest) -> Schedule:
        """Set a model's schedule. The clock starts anew where `every_hours` changes; tables may be tried again.

        Raises:
            NotFoundError: no such model.
        """
        every_s = None if request.every_hours is None else request.every_hours * HOUR_S
        with self._storage.session() as session:
            if session.get(ModelRow, model, with_for_update=True) is None:
                raise NotFoundError(f"there is no model {model!r}; GET /v1/models lists the registered ones")
            now, row = time_of(session), session.get(ScheduleRow, model)
            if row is None:
                row = ScheduleRow(model=model)
                session.add(row)
            if row.every_s != every_s:
                row.every_s, row.next_at = every_s, None if every_s is None else now + every_s
            row.on_new_table = int(request.on_new_table)
            row.request = request.request.model_dump(mode="json")
            row.tried_table = None
            row.updated_at = now
            session.flush()
            return _schedule(row, now)

    def get(self, model: str) -> Schedule:
        """A model's schedule.

        Raises:
            NotFoundError: it has none.
        """
        with self._storage.reading() as session:
            return _schedule(_row(session, model), time_of(session))

    def delete(self, model: str) -> Schedule:
        """Remove a model's schedule and return what it was; a refresh that it has started goes on.

        Raises:
            NotFoundError: it has none.
        """
        with self._storage.session() as session:
            row = _row(session, model)
            schedule = _schedule(row, time_of(session))
            session.delete(row)
            return schedule

    def all(self) -> list[Schedule]:
        """Every schedule, by model. One that cannot be read, as another release wrote it, is left out and logged."""
        with self._storage.reading() as session:
            rows = list(session.scalars(select(ScheduleRow).order_by(ScheduleRow.model)))
            now = time_of(session) if rows else 0.0
            schedules = []
            for row in rows:
                try:
                    schedules.append(_schedule(row, now))
                except ValidationError as error:
                    logger.error("the schedule of model %r is not followed, set it again: %s", row.model, error)
            return schedules

    def is_refreshing(self, model: str) -> bool:
        """Whether a refresh of the model waits or runs, whoever asked for it."""
        is_open = JobRow.state.not_in([state.value for state in FINAL])
        query = select(JobRow.id).where(JobRow.lane == model, JobRow.kind == "refresh", is_open).limit(1)
        with self._storage.reading() as session:
            return session.scalar(query) is not None

    def advance(self, schedule: Schedule, job: str | None) -> bool:
        """Go on to the next time, and over those that were missed; False where another worker has done so.

        Args:
            schedule: as it was when its time had come.
            job: the refresh that was started, or None where the time passes without one.
        """
        if schedule.next_at is None or schedule.every_s is None:
            return False
        with self._storage.session() as session:
            late = time_of(session) - schedule.next_at
            beats = max(int(late // schedule.every_s), 0) + 1
            values = {"next_at": schedule.next_at + beats * schedule.every_s} | _started(job)
            return _move(session, schedule, values)

    def tried(self, schedule: Schedule, table: str, job: str | None) -> bool:
        """Note that a refresh was tried with this field table; False where another worker has done so."""
        with self._storage.session() as session:
            return _move(session, schedule, {"tried_table": table} | _started(job))


def _move(session: Session, schedule: Schedule, values: Mapping[str, object]) -> bool:
    seen = (
        ScheduleRow.model == schedule.model,
        ScheduleRow.updated_at == schedule.updated_at,
        ScheduleRow.next_at.is_not_distinct_from(schedule.next_at),
        ScheduleRow.tried_table.is_not_distinct_from(schedule.tried_table),
    )
    done = session.execute(update(ScheduleRow).where(*seen).values(dict(values)))
    return isinstance(done, CursorResult) and done.rowcount == 1


def _started(job: str | None) -> dict[str, object]:
    return {} if job is None else {"last_job": job}


def _row(session: Session, model: str) -> ScheduleRow:
    row = session.get(ScheduleRow, model)
    if row is None:
        raise NotFoundError(f"model {model!r} has no schedule; PUT /v1/admin/models/{model}/schedule sets one")
    return row


def _schedule(row: ScheduleRow, now: float) -> Schedule:
    return Schedule(
        model=row.model,
        every_s=row.every_s,
        on_new_table=bool(row.on_new_table),
        plan=RefreshPlan.model_validate(row.request),
        next_at=row.next_at,
        is_due=row.next_at is not None and row.next_at <= now,
        tried_table=row.tried_table,
        last_job=row.last_job,
        updated_at=row.updated_at,
    )
