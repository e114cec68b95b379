"""Brings the LLM service's database to a revision: `python -m services.llm.migrations llm_0001`."""

from services.llm.settings import LlmSettings
from services.shared.http.serving import guarded
from services.shared.storage.migrating import bring

if __name__ == "__main__":
    guarded(lambda: bring(LlmSettings(), "services.llm"))
