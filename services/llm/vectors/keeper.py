"""Writes vectors to SQL and Redis in the background, so that no request waits for a disk."""

import logging
import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from llactr_core.errors import UnavailableError
from services.llm.vectors.rows import VectorRows
from services.llm.vectors.vector import Vector
from services.shared.storage.cache import Cache

MAX_WAITING = 64  # pieces of work; what comes on top is not kept, only answered
PRUNE_EVERY = 1000  # vectors written between two looks at the number of rows
CLOSE_S = 5.0
REDIS_PREFIX = "vector:"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Work:
    """Vectors to write to SQL and to Redis, and keys to mark as used in SQL."""

    to_sql: Mapping[str, Vector] = field(default_factory=dict)
    to_redis: Mapping[str, Vector] = field(default_factory=dict)
    used: Sequence[str] = ()


class Keeper:
    """One thread that keeps what requests have fetched. Losing work is harmless: it is computed again."""

    def __init__(self, rows: VectorRows, cache: Cache, ttl_s: int, prune_every: int = PRUNE_EVERY) -> None:
        self._rows = rows
        self._cache = cache
        self._ttl_s = ttl_s
        self._prune_every = prune_every
        self._written = prune_every  # the first vectors after a start are followed by a look, too
        self._waiting: queue.Queue[Work | None] = queue.Queue(MAX_WAITING)
        self._thread = threading.Thread(target=self._run, name="vector-keeper", daemon=True)
        self._thread.start()

    def keep(self, work: Work) -> None:
        """Have the work done soon; never waits."""
        try:
            self._waiting.put_nowait(work)
        except queue.Full:
            logger.warning("vectors come faster than they are written; some will be computed again after a restart")

    def flush(self) -> None:
        """Wait until all work given so far is done."""
        self._waiting.join()

    def close(self) -> None:
        """Do what waits, for a few seconds at most, and end."""
        try:
            self._waiting.put(None, timeout=CLOSE_S)
        except queue.Full:
            return
        self._thread.join(CLOSE_S)

    def _run(self) -> None:
        while (work := self._waiting.get()) is not None:
            try:
                self._do(work)
            except Exception:
                logger.exception("vectors could not be kept")
            finally:
                self._waiting.task_done()
        self._waiting.task_done()

    def _do(self, work: Work) -> None:
        if work.to_redis:
            packed = {REDIS_PREFIX + key: vector.pack(key) for key, vector in work.to_redis.items()}
            self._cache.put_many(packed, self._ttl_s)
        if work.to_sql:
            self._in_sql(lambda: self._rows.write(work.to_sql))
            self._written += len(work.to_sql)
        if work.used:
            self._in_sql(lambda: self._rows.touch(work.used))
        if self._written >= self._prune_every:
            self._written = 0
            self._in_sql(self._prune)

    def _prune(self) -> None:
        deleted = self._rows.prune()
        if deleted:
            logger.info("%d vectors deleted that were used longest ago", deleted)

    def _in_sql(self, step: Callable[[], object]) -> None:
        try:
            step()
        except UnavailableError:
            logger.warning("vectors are not kept: the storage does not answer")
