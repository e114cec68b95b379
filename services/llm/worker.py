"""The LLM service's worker process: refreshes and extensions, and the vLLM server where it runs one."""

import threading

from services.llm.engines.choose import choose_engine
from services.llm.jobs import extension
from services.llm.jobs import request as refresh
from services.llm.jobs.extension import extension_handler
from services.llm.jobs.refresh import refresh_handler
from services.llm.models import stay_offline
from services.llm.schema_store import SchemaStore
from services.llm.settings import LlmSettings
from services.llm.tables.retention import Retention
from services.llm.tables.store import TableStore
from services.shared.http.serving import guarded, work
from services.shared.jobs.store import JobStore
from services.shared.storage.cache import Cache
from services.shared.storage.storage import Storage, migrate
from services.shared.telemetry.logs import configure_logging


def main() -> None:
    """Work with the settings of the environment."""
    settings = LlmSettings()
    configure_logging(settings.log_level, "llm-worker")
    stay_offline()
    storage = Storage(settings.storage_url)
    storage.await_answer(settings.storage_wait_s)
    migrate(storage, "services.llm")
    tables = TableStore(storage, settings, Cache(settings.redis_url.get_secret_value() if settings.redis_url else None))
    retention = Retention(tables, settings)
    threading.Thread(target=retention.run, args=(threading.Event(),), name="retention", daemon=True).start()
    engine = choose_engine(settings, worker=True)
    engine.resume()  # a vLLM server of our own starts here, so that it is there before the first job
    jobs = JobStore(storage, settings.max_queued, settings.max_attempts)
    handlers = {
        refresh.KIND: refresh_handler(tables, engine, settings, SchemaStore(storage), jobs),
        extension.KIND: extension_handler(tables, engine),
    }
    work(jobs, handlers, settings)


if __name__ == "__main__":
    guarded(main)
