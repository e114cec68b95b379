"""Alembic's entry: runs the revisions on the connection that `services.shared.storage.migrate` opened."""

from services.shared.storage import run_migrations

run_migrations()
