"""A storage with the shared tables, and settings in a temporary home."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from services.shared.access.auth import ensure_admin_key
from services.shared.jobs.store import JobStore
from services.shared.settings import ServiceSettings
from services.shared.storage.storage import Storage, migrate


@pytest.fixture
def settings(tmp_path: Path) -> ServiceSettings:
    ensure_admin_key(tmp_path / "admin.key")
    return ServiceSettings(home=tmp_path, lease_s=1.0, poll_s=0.02)


@pytest.fixture
def storage(database_url: str) -> Iterator[Storage]:
    """A migrated database, once on SQLite and once on PostgreSQL."""
    opened = Storage(database_url)
    migrate(opened, "services.llm")
    yield opened
    opened.close()


@pytest.fixture
def store(storage: Storage) -> JobStore:
    return JobStore(storage)
