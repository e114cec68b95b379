"""Alembic migrations of the LLM service."""
