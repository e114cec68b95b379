"""The worker process: does train, refresh and prove jobs, one at a time. Run as `python -m services.ctr.worker`."""

import threading
from functools import partial
from typing import Any

from services.ctr.payloads import CLEANED
from services.ctr.promotion.promotion import Promotion
from services.ctr.quality.live import LiveComputer
from services.ctr.registry.retention import Retention
from services.ctr.registry.store import Registry
from services.ctr.schedule.scheduler import Scheduler
from services.ctr.schedule.store import ScheduleStore
from services.ctr.settings import CtrSettings
from services.shared.http.serving import guarded, work
from services.shared.jobs.context import Handler, JobContext
from services.shared.jobs.store import JobStore
from services.shared.storage.storage import Storage, migrate
from services.shared.telemetry.logs import configure_logging


def build_handlers(settings: CtrSettings, storage: Storage, store: JobStore) -> dict[str, Handler]:
    """The handlers by kind of job. They import torch with the first job, so that an idle worker stays small."""
    registry = Registry(storage, settings.bundles)
    promotion = Promotion(registry, settings)

    def train(context: JobContext) -> dict[str, Any]:
        from services.ctr.jobs.train import train

        return train(context, registry, promotion, store, settings)

    def refresh(context: JobContext) -> dict[str, Any]:
        from services.ctr.jobs.refresh import refresh

        return refresh(context, registry, promotion, store, settings)

    def prove(context: JobContext) -> dict[str, Any]:
        from services.ctr.jobs.proof import prove_dataset

        return prove_dataset(context, store, settings)

    return {"train": train, "refresh": refresh, "prove": prove}


def _end_tuning(settings: CtrSettings, context: JobContext) -> None:
    from services.ctr.jobs.tuning import end_tuning

    end_tuning(context, settings)


def main() -> None:
    """Do jobs until a signal ends the process."""
    settings = CtrSettings()
    configure_logging(settings.log_level, "ctr-worker")
    storage = Storage(settings.storage_url)
    storage.await_answer(settings.storage_wait_s)
    migrate(storage, "services.ctr")
    store = JobStore(storage, settings.max_queued, settings.max_attempts, CLEANED)
    Scheduler(ScheduleStore(storage), Registry(storage, settings.bundles), store, settings).start()
    retention = Retention(Registry(storage, settings.bundles), settings)
    threading.Thread(target=retention.run, args=(threading.Event(),), name="retention", daemon=True).start()
    LiveComputer(storage, Registry(storage, settings.bundles), settings).start()
    work(
        store,
        build_handlers(settings, storage, store),
        settings,
        dict.fromkeys(CLEANED, partial(_end_tuning, settings)),
    )


if __name__ == "__main__":
    guarded(main)
