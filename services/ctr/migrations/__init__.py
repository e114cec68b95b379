"""Alembic migrations of the CTR service."""
