"""The worker process: does the jobs "train" and "refresh", one at a time. Run as `python -m services.ctr.worker`."""

from typing import Any

from services.ctr.registry.store import Registry
from services.ctr.settings import CtrSettings
from services.shared.http.serving import guarded, work
from services.shared.jobs.store import JobStore
from services.shared.jobs.worker import Handler, JobContext
from services.shared.storage.storage import Storage, migrate
from services.shared.telemetry.logs import configure_logging


def build_handlers(settings: CtrSettings, storage: Storage, store: JobStore) -> dict[str, Handler]:
    """The handlers by kind of job. They import torch with the first job, so that an idle worker stays small."""
    registry = Registry(storage, settings.bundles)

    def train(context: JobContext) -> dict[str, Any]:
        from services.ctr.jobs.train import train

        return train(context, registry, settings)

    def refresh(context: JobContext) -> dict[str, Any]:
        from services.ctr.jobs.refresh import refresh

        return refresh(context, registry, store, settings)

    return {"train": train, "refresh": refresh}


def main() -> None:
    """Do jobs until a signal ends the process."""
    settings = CtrSettings()
    configure_logging(settings.log_level, "ctr-worker")
    storage = Storage(settings.storage_url)
    migrate(storage, "services.ctr")
    store = JobStore(storage, settings.max_queued, settings.max_attempts)
    work(store, build_handlers(settings, storage, store), settings)


if __name__ == "__main__":
    guarded(main)
