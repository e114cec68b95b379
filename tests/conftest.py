"""The servers that tests of several rooms need: PostgreSQL, Redis, an object store; started when a test asks first."""

import signal
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import settings
from object_store import ObjectStore, running
from servers import Postgres, Redis

# A busy machine is no failure: what has to be fast has a test of its own.
settings.register_profile("suite", deadline=None)
settings.load_profile("suite")


# Under nohup a hang-up is ignored, and children inherit that; some tests hang theirs up.
signal.signal(signal.SIGHUP, signal.SIG_DFL)


# Files that take longest begin first, so that no process ends with one of them while the others are done.
LONGEST = ("test_golden_path", "whole/", "proof/", "test_full_disk", "typescript/", "test_workers", "test_pipeline")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort by file: those of LONGEST, then the others as they came."""
    places = {
        item: next((n for n, part in enumerate(LONGEST) if part in str(item.path)), len(LONGEST)) for item in items
    }
    items.sort(key=places.__getitem__)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A running PostgreSQL; who kills it starts it again."""
    # Not in pytest's own folder: every further pytest run closes that to the account that PostgreSQL runs under.
    with TemporaryDirectory(prefix="llactr-postgres-") as folder:
        server = Postgres(Path(folder))
        server.start()
        yield server
        server.close()


@pytest.fixture
def postgres_url(postgres: Postgres) -> str:
    """The SQLAlchemy URL of an empty database, which the next test finds empty again."""
    return postgres.emptied_database()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The SQLAlchemy URL of an empty database: once of a file, once of PostgreSQL."""
    is_file = request.param == "sqlite"
    return f"sqlite:///{tmp_path / 'service.db'}" if is_file else str(request.getfixturevalue("postgres_url"))


@pytest.fixture
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    """A running, empty Redis."""
    server = Redis(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.close()


@pytest.fixture(scope="session")
def object_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    """A running store with S3's protocol, which fsspec finds by itself; who kills it starts it again."""
    with pytest.MonkeyPatch.context() as patch:
        store = running(tmp_path_factory.mktemp("objects"), patch)
        yield store
        store.close()
