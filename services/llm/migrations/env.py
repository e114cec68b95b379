"""Alembic's entry point for the LLM service's migrations."""

from services.llm import rows as rows
from services.shared.storage.migration import run_migrations

run_migrations()
