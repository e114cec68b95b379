"""Alembic's entry point for the LLM service's migrations."""

from services.llm import tables as tables
from services.shared.storage import run_migrations

run_migrations()
