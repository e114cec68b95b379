"""Brings the LLM service's database to a revision: `python -m services.llm.migrations 0001`."""

from services.llm.settings import LlmSettings
from services.shared.migrating import bring
from services.shared.serving import guarded

if __name__ == "__main__":
    guarded(lambda: bring(LlmSettings(), "services.llm"))
