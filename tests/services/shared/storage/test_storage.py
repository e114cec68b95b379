import sqlite3
import threading
import time
from pathlib import Path

import pytest
from fastapi import APIRouter
from servers import Postgres
from sqlalchemy import select, text, update
from sqlalchemy.exc import OperationalError, SQLAlchemyError
from starlette.testclient import TestClient

from llactr_core.errors import OptionError, UnavailableError
from services.shared.http.app import create_app
from services.shared.jobs.job import JobRow
from services.shared.jobs.store import JobStore
from services.shared.settings import ServiceSettings
from services.shared.storage import storage as storage_module
from services.shared.storage.clock import DatabaseTime, time_of
from services.shared.storage.storage import Storage, migrate


def test_sqlite_is_durable_and_lets_readers_read(settings: ServiceSettings) -> None:
    storage = Storage(settings.storage_url)
    migrate(storage, "services.llm")
    with storage.reading() as session:
        modes = [session.scalar(text(f"PRAGMA {name}")) for name in ("journal_mode", "synchronous", "foreign_keys")]
    assert modes == ["wal", 2, 1]
    with storage.session() as writing, storage.reading() as reading:
        writing.execute(text("SELECT 1"))
        assert reading.scalar(text("SELECT count(*) FROM jobs")) == 0
    storage.close()


def test_an_exception_rolls_back(storage: Storage, store: JobStore) -> None:
    job = store.submit("train", {})

    def break_off() -> None:
        with storage.session() as session:
            session.execute(update(JobRow).values(stage="half done"))
            raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="middle"):
        break_off()
    assert store.get(job.id).stage == "queued"


def test_a_failed_migration_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "broken_service"
    versions = package / "migrations" / "versions"
    versions.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "migrations" / "env.py").write_text(
        "from services.shared.storage.migration import run_migrations\n"
        "from services.shared.storage.storage import Base\nrun_migrations(Base.metadata)\n"
    )
    (versions / "0001_first.py").write_text(
        "from alembic import op\nimport sqlalchemy as sa\nrevision = '0001'\ndown_revision = None\n"
        "def upgrade():\n    op.create_table('half', sa.Column('a', sa.Integer))\n    raise RuntimeError('stop')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    storage = Storage(f"sqlite:///{tmp_path / 'x.db'}")
    with pytest.raises(RuntimeError, match="stop"):
        migrate(storage, "broken_service")
    storage.close()
    with sqlite3.connect(tmp_path / "x.db") as plain:
        assert plain.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall() == []
    plain.close()


def test_a_package_without_migrations_and_an_unusable_url_are_refused(tmp_path: Path) -> None:
    storage = Storage(f"sqlite:///{tmp_path / 'x.db'}")
    with pytest.raises(OptionError, match="has no migrations"):
        migrate(storage, "services.shared")
    with pytest.raises(OptionError, match="known ones are llm_0003, llm_0002, llm_0001, base"):
        migrate(storage, "services.llm", "0815")
    storage.close()
    for url in ("no url at all", "mysql://host/database"):
        with pytest.raises(OptionError, match="database URL"):
            Storage(url)


def test_times_are_the_databases(storage: Storage) -> None:
    with storage.session() as session:
        first, second = time_of(session), time_of(session)
        inside = session.scalar(select(DatabaseTime() + 60))
    assert abs(first - time.time()) < 5
    assert first < second < inside - 59


def test_a_lost_server_is_unavailable_and_comes_back_by_itself(postgres: Postgres, postgres_url: str) -> None:
    storage = Storage(postgres_url)
    migrate(storage, "services.llm")
    store = JobStore(storage)
    job = store.submit("train", {"secret": 1})
    router = APIRouter()

    @router.get("/jobs/{job_id}")
    def one(job_id: str) -> str:
        return store.get(job_id).state.value

    def lose_it_in_the_middle() -> None:
        with storage.session() as session:
            session.execute(text("SELECT 1"))
            postgres.kill()
            session.execute(text("SELECT 1"))

    with TestClient(create_app("test", ServiceSettings(), [router])) as client:
        assert client.get(f"/jobs/{job.id}").json() == "queued"
        try:
            with pytest.raises(UnavailableError, match="storage"):
                lose_it_in_the_middle()
            answer = client.get(f"/jobs/{job.id}")
            assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
            assert int(answer.headers["retry-after"]) >= 1
            with pytest.raises(UnavailableError):
                storage.ping()
        finally:
            postgres.start()
        assert client.get(f"/jobs/{job.id}").json() == "queued"
    storage.close()


def test_a_used_up_pool_is_unavailable(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("POOL_SIZE", 1), ("POOL_OVERFLOW", 0), ("POOL_TIMEOUT_S", 0.1)):
        monkeypatch.setattr(storage_module, name, value)
    storage = Storage(postgres_url)
    with storage.session() as session:
        session.execute(text("SELECT 1"))
        with pytest.raises(UnavailableError):
            storage.ping()
    storage.ping()
    storage.close()


@pytest.mark.filterwarnings("error")
def test_a_connection_in_use_at_closing_is_closed_when_it_comes_back(postgres_url: str) -> None:
    storage = Storage(postgres_url)
    with storage.session() as session:
        driven = session.connection().connection.driver_connection
        storage.close()
        assert driven is not None
        assert not driven.closed
    assert driven.closed
    storage.ping()  # whoever still has a question gets its answer


def test_no_message_tells_the_values_of_a_statement(storage: Storage, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises((SQLAlchemyError, UnavailableError)) as caught, storage.session() as session:
        session.execute(text("SELECT :value FROM nowhere"), {"value": "secret"})
    assert "secret" not in f"{caught.value} {caught.value.__cause__} {caplog.text}"


def test_the_url_decides_over_the_defaults(postgres_url: str) -> None:
    storage = Storage(f"{postgres_url}?options=-c%20statement_timeout%3D7s")
    with storage.reading() as session:
        assert session.scalar(text("SHOW statement_timeout")) == "7s"
    storage.close()


def test_a_wrong_statement_is_a_mistake_and_no_outage(tmp_path: Path) -> None:
    storage = Storage(f"sqlite:///{tmp_path / 'x.db'}")
    with pytest.raises(OperationalError, match="no such table"), storage.reading() as session:
        session.execute(text("SELECT * FROM absent"))
    storage.close()


def test_a_start_waits_for_a_database_that_is_not_there_yet(postgres: Postgres, postgres_url: str) -> None:
    storage = Storage(postgres_url)
    postgres.kill()
    with pytest.raises(UnavailableError):
        storage.await_answer(0)
    later = threading.Timer(1.5, postgres.start)
    later.start()
    storage.await_answer(30)
    later.join()
    storage.ping()
    storage.close()
