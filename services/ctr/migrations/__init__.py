"""Alembic migrations of the CTR service."""

NEWEST = "ctr_0005"
