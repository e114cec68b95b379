"""Notes of the traffic go after a set time."""

from sqlalchemy import ColumnElement, CursorResult, delete, select
from sqlalchemy.orm import InstrumentedAttribute

from services.ctr.registry.tables import ModelRow
from services.ctr.traffic.tables import HOUR_S, DriftRow, OutcomeRow, ScoreRow, ShadowRow
from services.shared.storage.clock import time_of
from services.shared.storage.storage import Storage

DAY_S = 86_400.0
BATCH = 5000


def prune_traffic(storage: Storage, keep_days: float) -> int:
    """Delete scores, labels, drift and shadow counts that are older than that; returns how many scores and labels.

    About 5,000 rows go in one transaction, so that nobody waits long behind it.

    Raises:
        UnavailableError: the database does not answer.
    """
    with storage.session() as session:
        before = time_of(session) - keep_days * DAY_S
        for table in (DriftRow, ShadowRow):
            session.execute(delete(table).where(table.hour < before / HOUR_S - 1))
        models = session.scalars(select(ModelRow.name)).all()
    deleted = _prune(storage, OutcomeRow.at, before)
    return deleted + sum(_prune(storage, ScoreRow.at, before, ScoreRow.model == model) for model in models)


def _prune(storage: Storage, at: InstrumentedAttribute[float], before: float, *only: ColumnElement[bool]) -> int:
    deleted = 0
    while True:
        with storage.session() as session:
            last = session.scalar(select(at).where(*only, at < before).order_by(at).offset(BATCH).limit(1))
            gone = at < before if last is None else at <= last
            done = session.execute(delete(at.class_).where(*only, gone))
            deleted += done.rowcount if isinstance(done, CursorResult) else 0
        if last is None:
            return deleted
