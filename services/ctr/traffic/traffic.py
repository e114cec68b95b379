"""Live traffic beside the scoring of one API process: deals out arms, samples, and follows the plans in SQL."""

import logging
import threading
import time
from collections.abc import Mapping

from llactr_core.errors import UnavailableError
from services.ctr import metrics
from services.ctr.registry.store import CHAMPION, Registry
from services.ctr.serving.hooks import Scored
from services.ctr.serving.pool import ModelPool
from services.ctr.settings import CtrSettings
from services.ctr.traffic.plan import Plans, TrafficPlan, place_of
from services.ctr.traffic.recorder import Noted, Recorder
from services.shared.settings import MEBIBYTE
from services.shared.storage.storage import Storage

CLOSE_S = 1.0

logger = logging.getLogger(__name__)


class Traffic:
    """What the scoring pipeline knows as its `Routing` and as a `Watching`.

    The plans are read every `poll_s` seconds; while the database does not answer, the last ones hold.
    """

    def __init__(self, storage: Storage, registry: Registry, pool: ModelPool, settings: CtrSettings) -> None:
        self.plans = Plans(storage, registry, settings.log_share)
        self._default = self.plans.default()
        self._snapshot: Mapping[str, TrafficPlan] = {}
        self._recorder = Recorder(
            storage,
            pool,
            rows=settings.traffic_rows,
            size=settings.traffic_mb * MEBIBYTE,
            flush_s=settings.traffic_flush_s,
        )
        self._poll_s = settings.poll_s
        self._stop = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="traffic-plans", daemon=True)

    def deals(self, model: str) -> bool:
        """Whether another alias than the champion may answer."""
        plan = self._snapshot.get(model)
        return plan is not None and (len(plan.arms) > 1 or plan.arms[0].alias != CHAMPION)

    def arm(self, model: str, key: str) -> str | None:
        """The alias that answers requests with this routing key; None where the model has no experiment."""
        plan = self._snapshot.get(model)
        alias = None if plan is None else plan.arm(model, key)
        if alias is not None:
            metrics.ARM_REQUESTS.labels(model, alias).inc()
        return alias

    def saw(self, scored: Scored) -> None:
        """Take note of an answered request, if it is sampled. Never waits."""
        plan = self._snapshot.get(scored.loaded.name, self._default)
        share, shadow = plan.log_share or 0.0, plan.shadow
        if share == 0.0 and shadow is None:
            return
        place = place_of(scored.request_id)  # one draw for both, so that the log has the shadow's scores too
        is_logged, is_shadowed = place < share, shadow is not None and place < shadow.share
        if (is_logged or is_shadowed) and len(scored.scores):
            alias = shadow.alias if shadow is not None and is_shadowed else None
            self._recorder.note(Noted(scored, is_logged, alias, time.monotonic()))

    def refresh(self) -> None:
        """Read the plans.

        Raises:
            UnavailableError: the database does not answer; the last ones hold.
        """
        self._snapshot = self.plans.read()

    def start(self) -> None:
        """Read the plans and follow them from here on."""
        self._follow()
        self._watcher.start()
        self._recorder.start()

    def close(self) -> None:
        """Write what was noted and follow no more."""
        self._stop.set()
        self._recorder.close()
        self._watcher.join(CLOSE_S)

    def _watch(self) -> None:
        while not self._stop.wait(self._poll_s):
            self._follow()

    def _follow(self) -> None:
        try:
            self.refresh()
        except UnavailableError:
            return  # the storage has said so in the log
        except Exception:
            logger.exception("the plans of the traffic cannot be read; the last ones hold")
