"""The score log: sampled scores wait in memory, go to SQL in batches, and are deleted after a set time."""

import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

from services.ctr import metrics
from services.ctr.traffic.tables import LONGEST_ID, ScoreRow
from services.shared.storage.clock import time_of
from services.shared.storage.storage import Storage
from services.shared.storage.text import storable
from services.shared.storage.upsert import insert_into

BATCH = 1000


@dataclass(frozen=True)
class Mark:
    """Which row of which request a score is for; `at` is when it was scored, by `time.monotonic`."""

    request_id: str
    row: int
    row_id: str | None
    arm: str | None
    at: float


class ScoreLog:
    """Scores on their way to SQL. Used by one thread.

    Args:
        storage: the database.
        most: so many scores wait while the database does not answer; beyond them the oldest are dropped and counted.
    """

    def __init__(self, storage: Storage, most: int) -> None:
        self._storage = storage
        self._most = most
        self._waiting: deque[tuple[Mark, str, str, int, float]] = deque()

    def add(self, model: str, version: str, marks: Iterable[Mark], scores: Iterable[float], *, shadow: bool) -> None:
        """Let the scores of these rows wait for `write`."""
        self._waiting.extend((m, model, version, int(shadow), s) for m, s in zip(marks, scores, strict=True))
        self.drop(max(0, len(self._waiting) - self._most))

    def write(self) -> None:
        """Write what waits, a batch a transaction; what was not taken waits on.

        A row that is logged already stays as it is: a request that was sent twice counts once, the other is
        counted as repeated.

        Raises:
            UnavailableError: the database does not answer.
        """
        while self._waiting:
            batch = list(islice(self._waiting, BATCH))
            with self._storage.session() as session:
                began = time_of(session) - time.monotonic()
                rows = [_row(*entry, began) for entry in batch]
                statement = insert_into(session, ScoreRow).on_conflict_do_nothing().returning(ScoreRow.row)
                written = len(session.execute(statement, rows).all())  # psycopg counts no rows of several statements
            for _ in batch:
                self._waiting.popleft()
            metrics.LOGGED_ROWS.labels("written").inc(written)
            metrics.LOGGED_ROWS.labels("repeated").inc(len(batch) - written)

    def drop(self, most: int = BATCH) -> None:
        """Give up the oldest of what waits, and count it."""
        dropped = min(most, len(self._waiting))
        for _ in range(dropped):
            self._waiting.popleft()
        metrics.LOGGED_ROWS.labels("dropped").inc(dropped)


def _row(mark: Mark, model: str, version: str, shadow: int, score: float, began: float) -> dict[str, object]:
    return {
        "request_id": storable(mark.request_id, LONGEST_ID),
        "row": mark.row,
        "model": model,
        "version": version,
        "row_id": None if mark.row_id is None else storable(mark.row_id, LONGEST_ID),
        "arm": mark.arm,
        "shadow": shadow,
        "score": score,
        "at": began + mark.at,
    }
