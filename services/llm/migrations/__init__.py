"""Alembic migrations of the LLM service."""

NEWEST = "llm_0003"
