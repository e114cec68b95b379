"""What ended long ago goes: the rows of old jobs, the calls they stood for, and folders that no job needs."""

import logging
import math
import shutil
import time
from collections.abc import Collection
from pathlib import Path

from sqlalchemy import CursorResult, delete, exists, select

from llactr_core.errors import UnavailableError
from services.shared.jobs.calls import CallRow
from services.shared.jobs.job import FINAL, JobRow
from services.shared.storage.clock import time_of
from services.shared.storage.storage import Storage

DAY_S = 24 * 3600.0
EVERY_S = 3600.0
FOLDER_AGE_S = 3600.0
BATCH = 500

logger = logging.getLogger(__name__)


class Upkeep:
    """One worker's share of keeping the jobs small.

    Args:
        storage: the database that has the jobs.
        folder: where this worker's jobs have their folders, each named by the job's id.
        keep_days: a job that ended so many days ago is deleted.
    """

    def __init__(self, storage: Storage, folder: Path, keep_days: float) -> None:
        self._storage = storage
        self._folder = folder
        self._keep_days = keep_days
        self._due = -math.inf

    def when_due(self) -> None:
        """Do it all once an hour; while the database is away, with the next call."""
        if time.monotonic() < self._due:
            return
        try:
            deleted = self.prune()
            removed = self.sweep()
        except UnavailableError:
            return
        self._due = time.monotonic() + EVERY_S
        if deleted or removed:
            logger.info("deleted %d old jobs and %d folders of jobs", deleted, removed)

    def prune(self) -> int:
        """Delete the jobs that ended long ago, and the calls for which nothing stands any more.

        Returns:
            The number of deleted jobs.

        Raises:
            UnavailableError: the database does not answer.
        """
        with self._storage.session() as session:
            before = time_of(session) - self._keep_days * DAY_S
            ended = JobRow.state.in_([state.value for state in FINAL])
            done = session.execute(delete(JobRow).where(ended, JobRow.finished_at < before))
            stands = exists().where(JobRow.id == CallRow.job_id)
            session.execute(delete(CallRow).where(CallRow.at < before, ~stands))
            return done.rowcount if isinstance(done, CursorResult) else 0

    def sweep(self) -> int:
        """Remove the folders, untouched for an hour, whose job has ended or is gone; their number.

        Raises:
            UnavailableError: the database does not answer.
        """
        old = [folder for folder in _children(self._folder) if _age_s(folder) > FOLDER_AGE_S]
        removed = 0
        for start in range(0, len(old), BATCH):
            batch = old[start : start + BATCH]
            needed = self._unfinished([folder.name for folder in batch])
            for folder in batch:
                if folder.name not in needed:
                    shutil.rmtree(folder, ignore_errors=True)
                    removed += 1
        return removed

    def _unfinished(self, job_ids: Collection[str]) -> set[str]:
        is_open = JobRow.state.not_in([state.value for state in FINAL])
        with self._storage.reading() as session:
            return set(session.scalars(select(JobRow.id).where(JobRow.id.in_(job_ids), is_open)))


def _children(folder: Path) -> list[Path]:
    try:
        return [child for child in folder.iterdir() if child.is_dir()]
    except OSError:
        return []


def _age_s(folder: Path) -> float:
    try:
        return time.time() - folder.stat().st_mtime
    except OSError:  # it is being removed
        return 0.0
