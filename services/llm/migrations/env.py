"""Alembic's entry: runs the revisions on the connection that `services.shared.storage.migration.bring` opened."""

from services.shared.storage.migration import run_migrations
from services.shared.storage.storage import Base

run_migrations(Base.metadata)
