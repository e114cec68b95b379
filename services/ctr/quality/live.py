"""The live numbers as metrics: a worker computes them now and then, every API process shows what it finds in SQL."""

import logging
import math
import threading
import time
from collections.abc import Callable, Iterator

from prometheus_client import Gauge
from pydantic import BaseModel, ConfigDict
from sqlalchemy import select

from llactr_core.errors import UnavailableError
from services.ctr import metrics
from services.ctr.quality.quality import Drift, Labels, LiveQuality, Quality, VersionQuality
from services.ctr.registry.store import Registry
from services.ctr.settings import CtrSettings
from services.ctr.traffic.comparison import Comparison, Comparisons
from services.ctr.traffic.prune import prune_traffic
from services.ctr.traffic.tables import LiveRow
from services.shared.storage.clock import time_of
from services.shared.storage.storage import Storage
from services.shared.storage.upsert import insert_into

SHOW_EVERY_S = 15.0
PRUNE_EVERY_S = 3600.0
CLOSE_S = 1.0
STALE = 10  # periods

logger = logging.getLogger(__name__)


class Live(BaseModel):
    """What is shown of one model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    quality: LiveQuality
    shadows: tuple[Comparison, ...]


class LiveComputer:
    """Computes the numbers of all models every so often, in a thread of the worker's process; old notes go hourly.

    Where several workers run, each passes over what another has computed within half of the period.
    """

    def __init__(self, storage: Storage, registry: Registry, settings: CtrSettings) -> None:
        self._storage = storage
        self._registry = registry
        self._quality = Quality(storage, registry.bundle_path, settings.quality_rows)
        self._comparisons = Comparisons(storage)
        self._every_s = settings.live_every_s
        self._hours = settings.live_window_hours
        self._keep_days = settings.keep_scores_days
        self._prune_due = -math.inf
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="live-quality", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """End; a computation at work is not waited for longer than a second."""
        self._stop.set()
        self._thread.join(CLOSE_S)

    def compute(self) -> None:
        """Compute and write the numbers of every model whose numbers are old; a model that fails stops no other.

        Raises:
            UnavailableError: the database does not answer.
        """
        with self._storage.reading() as session:
            now = time_of(session)
            at = {row.model: row.at for row in session.execute(select(LiveRow.model, LiveRow.at))}
        for summary in self._registry.models():
            if now - at.get(summary.name, -math.inf) < self._every_s / 2:
                continue
            try:
                self._write(summary.name)
            except UnavailableError:
                raise
            except Exception:
                logger.exception("the live numbers of %r could not be computed", summary.name)

    def _write(self, model: str) -> None:
        shadows = tuple(self._comparisons.read(model, self._hours))
        live = Live(quality=self._quality_of(model), shadows=shadows)
        with self._storage.session() as session:
            row = {"model": model, "numbers": live.model_dump(mode="json"), "at": time_of(session)}
            insert = insert_into(session, LiveRow)
            changed = {name: insert.excluded[name] for name in ("numbers", "at")}
            session.execute(insert.on_conflict_do_update(index_elements=["model"], set_=changed), row)

    def _quality_of(self, model: str) -> LiveQuality:
        drift: tuple[Drift, ...] = ()
        try:
            drift = tuple(self._quality.drift(model, self._hours))
        except UnavailableError as error:
            logger.warning("the drift of %r could not be looked at: %s", model, error)
        try:
            quality = self._quality.scored(model, self._hours)
        except UnavailableError as error:
            logger.warning("the labels of %r could not be looked at: %s", model, error)
            none = Labels(received=0, unmatched=0)
            quality = LiveQuality(
                model=model, window_hours=self._hours, capped=False, versions=(), drift=(), outcomes=none
            )
        return quality.model_copy(update={"drift": drift})

    def _prune(self) -> None:
        if time.monotonic() < self._prune_due:
            return
        deleted = prune_traffic(self._storage, self._keep_days)
        self._prune_due = time.monotonic() + PRUNE_EVERY_S
        if deleted:
            logger.info("deleted %d logged scores and labels", deleted)

    def _work(self) -> None:
        while not self._stop.wait(self._every_s):
            self._try(self._prune, "old scores and labels could not be deleted")
            self._try(self.compute, "the live numbers could not be computed")

    def _try(self, task: Callable[[], None], failed: str) -> None:
        try:
            task()
        except UnavailableError:
            return  # the storage has said so in the log
        except Exception:
            logger.exception(failed)


class LiveGauges:
    """Shows the numbers as the metrics llactr_live_* and llactr_shadow_mean_difference, in a thread of its own."""

    def __init__(self, storage: Storage, settings: CtrSettings) -> None:
        self._storage = storage
        self._stale_s = STALE * settings.live_every_s
        self._shown: set[tuple[Gauge, tuple[str, ...]]] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="live-gauges", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """End."""
        self._stop.set()
        self._thread.join(CLOSE_S)

    def show(self) -> None:
        """Set the gauges to what the database has; what is there no more, or was computed long ago, becomes NaN.

        Raises:
            UnavailableError: the database does not answer; the gauges stay.
        """
        with self._storage.reading() as session:
            since = time_of(session) - self._stale_s
            rows = session.scalars(select(LiveRow.numbers).where(LiveRow.at >= since)).all()
        found = {(gauge, labels): value for row in rows for gauge, labels, value in _values(Live.model_validate(row))}
        for gauge, labels in self._shown - found.keys():
            gauge.labels(*labels).set(math.nan)
        for (gauge, labels), value in found.items():
            gauge.labels(*labels).set(value)
        self._shown |= found.keys()

    def _work(self) -> None:
        while not self._stop.is_set():
            try:
                self.show()
            except UnavailableError:
                pass  # the storage has said so in the log
            except Exception:
                logger.exception("the live numbers cannot be shown")
            self._stop.wait(SHOW_EVERY_S)


def _values(live: Live) -> Iterator[tuple[Gauge, tuple[str, ...], float]]:
    model = live.quality.model
    answered = {version.version for version in live.quality.versions if not version.shadow}
    for version in live.quality.versions:
        if not version.shadow or version.version not in answered:
            yield from _values_of(model, version)
    for drift in live.quality.drift:
        yield metrics.LIVE_SCORE_PSI, (model, drift.version), drift.scores
        for field, index in drift.fields.items():
            yield metrics.LIVE_PSI, (model, drift.version, field), index
    for pair in live.shadows:
        yield metrics.SHADOW_DIFFERENCE, (model, pair.version, pair.shadow), pair.mean_difference


def _values_of(model: str, version: VersionQuality) -> Iterator[tuple[Gauge, tuple[str, ...], float]]:
    yield metrics.LIVE_ROWS, (model, version.version), version.labelled
    for gauge, value in (
        (metrics.LIVE_AUC, version.auc),
        (metrics.LIVE_LOGLOSS, version.logloss),
        (metrics.LIVE_CALIBRATION, version.predicted_over_true),
    ):
        if value is not None:
            yield gauge, (model, version.version), value
