"""Whose turn it is: the next job that a worker may claim."""

from collections.abc import Collection
from typing import Any

from sqlalchemy import Select, and_, func, or_, select
from sqlalchemy.orm import aliased

from services.shared.jobs.job import JobRow, State
from services.shared.storage.clock import DatabaseTime


def next_job(kinds: Collection[str] | None) -> Select[Any]:
    """The next job that waits, or whose worker went silent; none of a named lane in which another one runs.

    The lanes take turns: the one whose last start lies furthest back comes first, and in a lane the oldest job.
    """
    others, running = aliased(JobRow), aliased(JobRow)
    last_start = select(func.max(others.started_at)).where(others.lane == JobRow.lane).scalar_subquery()
    ready = or_(
        and_(JobRow.state == State.QUEUED, JobRow.not_before <= DatabaseTime()),
        and_(JobRow.state == State.RUNNING, JobRow.lease_until < DatabaseTime()),
    )
    busy_lanes = select(running.lane).where(
        running.lane != "", running.state == State.RUNNING, running.lease_until >= DatabaseTime()
    )
    query = select(JobRow).where(ready, JobRow.lane.not_in(busy_lanes))
    if kinds is not None:
        query = query.where(JobRow.kind.in_(list(kinds)))
    return query.order_by(func.coalesce(last_start, 0.0), JobRow.created_at, JobRow.id).limit(1)
