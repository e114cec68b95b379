"""The registry on SQLite and on PostgreSQL."""

from collections.abc import Iterator

import pytest

from services.shared.storage.storage import Storage, migrate


@pytest.fixture
def storage(database_url: str) -> Iterator[Storage]:
    opened = Storage(database_url)
    migrate(opened, "services.ctr")
    yield opened
    opened.close()
