"""The LLM service's worker process: does refresh jobs."""

from services.llm.models import stay_offline
from services.llm.refresh import refresh_handler
from services.llm.request import KIND
from services.llm.settings import LlmSettings
from services.llm.store import TableStore
from services.shared.jobs import JobStore
from services.shared.logs import configure_logging
from services.shared.serving import guarded, work
from services.shared.storage import Storage, migrate


def main() -> None:
    """Work with the settings of the environment."""
    settings = LlmSettings()
    configure_logging(settings.log_level)
    stay_offline()
    storage = Storage(settings.storage_url)
    migrate(storage, "services.llm")
    handlers = {KIND: refresh_handler(TableStore(storage, settings), settings)}
    work(JobStore(storage), handlers, settings)


if __name__ == "__main__":
    guarded(main)
