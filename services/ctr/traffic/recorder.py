"""What is done with sampled requests once they are answered: logged, compared, counted, by one thread of its own.

The thread shares the interpreter with the requests, so it works on a few rows at a time and lets go in between.
"""

import logging
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from llactr_core.errors import LlactrError, UnavailableError
from services.ctr import metrics
from services.ctr.formats.decoding import Features, PlainRows, Value
from services.ctr.serving.hooks import Scored
from services.ctr.serving.pool import Loaded, ModelPool
from services.ctr.traffic.comparison import Comparisons
from services.ctr.traffic.drift import DriftCounts
from services.ctr.traffic.scores import Mark, ScoreLog
from services.shared.storage.storage import Storage

SLICE_ROWS = 128
VALUE_BYTES = 64
PAUSE_S = 0.002
SUMS_EVERY = 5  # turns
CLOSE_S = 2.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Noted:
    """An answered request that was sampled: for the log, for a shadow (its alias), or for both.

    `at` is when, by `time.monotonic`.
    """

    scored: Scored
    logs: bool
    shadow: str | None
    at: float


@dataclass(frozen=True)
class Slice:
    """Some rows that one version answered, float64 [B]; `marks` is empty where they are not for the log."""

    loaded: Loaded
    shadow: str | None
    features: Features
    scores: npt.NDArray[np.float64]
    marks: Sequence[Mark]


class Buffer:
    """Sampled requests that wait for the thread, bounded by rows and bytes: bodies, and what their values take."""

    def __init__(self, most_rows: int, most_bytes: int) -> None:
        self._most = (most_rows, most_bytes)
        self._lock = threading.Lock()
        self._noted: list[Noted] = []
        self._rows = self._bytes = 0

    def put(self, noted: Noted) -> bool:
        """Keep a request; False where there is no room for it."""
        rows, size = len(noted.scored.scores), noted.scored.size + _kept_bytes(noted.scored)
        with self._lock:
            if self._rows + rows > self._most[0] or self._bytes + size > self._most[1]:
                return False
            self._noted.append(noted)
            self._rows += rows
            self._bytes += size
            return True

    def take(self) -> list[Noted]:
        """Everything that waits."""
        with self._lock:
            taken, self._noted = self._noted, []
            self._rows = self._bytes = 0
            return taken


class Recorder:
    """Takes notes of answered requests without keeping them waiting.

    What is lost when the process is killed is what was not written: about `flush_s` seconds of scores and five times
    that of drift and shadow counts. While the database does not answer, twice as many scores wait as the buffer has
    rows. Counts whose commit was cut off by an outage may be added twice; scores never are.
    """

    def __init__(self, storage: Storage, pool: ModelPool, *, rows: int, size: int, flush_s: float) -> None:
        self._pool = pool
        self._flush_s = flush_s
        self._buffer = Buffer(rows, size)
        self._scores = ScoreLog(storage, 2 * rows)  # those of the shadow are logged too
        self._comparisons = Comparisons(storage)
        self._drift = DriftCounts(storage)
        self._turns = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="traffic", daemon=True)
        self._counted = {taken: metrics.WATCHED_REQUESTS.labels(taken) for taken in ("taken", "dropped", "failed")}

    def note(self, noted: Noted) -> None:
        """Take a note, or count that there is no room for it; returns at once."""
        self._counted["taken" if self._buffer.put(noted) else "dropped"].inc()

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """Write what there is, but wait at most 2 s for it."""
        self._stop.set()
        self._thread.join(CLOSE_S)

    def _work(self) -> None:
        while not self._stop.wait(self._flush_s):
            self._turn()
        self._turns = 0
        self._turn()

    def _turn(self) -> None:
        try:
            self._record_all(self._buffer.take())
        except Exception:
            self._counted["failed"].inc()
            logger.exception("answered rows could not be taken apart; those of this turn are lost")
        self._write(self._scores)
        if self._turns % SUMS_EVERY == 0:
            self._write(self._drift)
            self._write(self._comparisons)
        self._turns += 1

    def _record_all(self, noted: Sequence[Noted]) -> None:
        failed: Exception | None = None
        for part in slices(noted):
            try:
                self._record(part)
            except Exception as error:
                self._counted["failed"].inc()
                failed = error
            time.sleep(PAUSE_S)
        if failed is not None:
            logger.error("some answered rows could not be recorded", exc_info=failed)

    def _write(self, kept: ScoreLog | DriftCounts | Comparisons) -> None:
        try:
            kept.write()
        except UnavailableError:
            return  # the storage has said so in the log; what was not written waits
        except Exception:
            logger.exception("the database refused notes of the traffic; they are dropped")
            kept.drop()

    def _record(self, part: Slice) -> None:
        loaded = part.loaded
        if part.marks:
            self._scores.add(loaded.name, loaded.version, part.marks, part.scores.tolist(), shadow=False)
            self._drift.add(loaded, part.features, part.scores)
        if part.shadow is not None:
            self._compare(part, part.shadow)

    def _compare(self, part: Slice, alias: str) -> None:
        loaded = part.loaded
        try:
            shadow = self._pool.resolve(f"{loaded.name}@{alias}")
            if shadow.version == loaded.version:
                return
            scores = shadow.scorer.score(part.features)
        except LlactrError as error:
            metrics.SHADOW_ROWS.labels("failed").inc(len(part.scores))
            logger.debug("shadow %r of %r did not score: %s", alias, loaded.name, error)
            return
        metrics.SHADOW_ROWS.labels("compared").inc(len(scores))
        self._comparisons.add(loaded.name, loaded.version, shadow.version, part.scores, scores)
        if part.marks:
            self._scores.add(loaded.name, shadow.version, part.marks, scores.tolist(), shadow=True)


def _kept_bytes(scored: Scored) -> int:
    features = scored.batch.given
    if isinstance(features, PlainRows):
        return VALUE_BYTES * len(features.columns) * scored.batch.rows
    if isinstance(features, pa.Table):
        return int(features.nbytes)
    fields = len(features) if isinstance(features, Mapping) else max(map(len, features), default=0)
    return VALUE_BYTES * fields * scored.batch.rows


def slices(noted: Sequence[Noted]) -> Iterator[Slice]:
    """The rows of the requests, at most 128 at a time; small requests of one version come together."""
    small: dict[tuple[Loaded, str | None, bool], list[Noted]] = {}
    for one in noted:
        features = one.scored.batch.features
        if isinstance(features, Mapping | pa.Table) or len(features) > SLICE_ROWS // 2:
            yield from _cut(one)
        else:
            small.setdefault((one.scored.loaded, one.shadow, one.logs), []).append(one)
    for group in small.values():
        start, rows = 0, 0
        for end, one in enumerate(group):
            rows += one.scored.batch.rows
            if rows > SLICE_ROWS:
                yield _joined(group[start:end])
                start, rows = end, one.scored.batch.rows
        yield _joined(group[start:])


def _cut(noted: Noted) -> Iterator[Slice]:
    scored = noted.scored
    for start in range(0, scored.batch.rows, SLICE_ROWS):
        rows = slice(start, min(start + SLICE_ROWS, scored.batch.rows))
        marks = _marks(noted, rows) if noted.logs else []
        features = _rows_of(scored.batch.features, rows)
        yield Slice(scored.loaded, noted.shadow, features, scored.scores[rows], marks)


def _joined(group: Sequence[Noted]) -> Slice:
    rows: list[Mapping[str, Value]] = []
    marks: list[Mark] = []
    for one in group:
        features = one.scored.batch.features
        rows.extend(features if isinstance(features, Sequence) else ())
        if one.logs:
            marks.extend(_marks(one, slice(0, one.scored.batch.rows)))
    first = group[0]
    scores = np.concatenate([one.scored.scores for one in group])
    return Slice(first.scored.loaded, first.shadow, rows, scores, marks)


def _rows_of(features: Features, rows: slice) -> Features:
    if isinstance(features, pa.Table):
        return features.slice(rows.start, rows.stop - rows.start)
    if isinstance(features, Mapping):
        return {name: values[rows] for name, values in features.items()}
    return features[rows]


def _marks(noted: Noted, rows: slice) -> list[Mark]:
    scored = noted.scored
    ids = scored.row_ids or [None] * scored.batch.rows
    numbers = range(rows.start, rows.stop)
    return [Mark(scored.request_id, i, ids[i], scored.arm, noted.at) for i in numbers]
