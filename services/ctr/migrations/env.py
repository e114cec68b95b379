"""Alembic's entry: runs the revisions on the connection that `services.shared.storage.storage.migrate` opened."""

from services.shared.storage.storage import run_migrations

run_migrations()
