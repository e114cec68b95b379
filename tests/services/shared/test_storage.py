import sqlite3
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect, text, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateTable

import services.llm.tables  # noqa: F401 - its tables are what the migrations are compared with
from llactr_core.errors import OptionError
from services.shared.job import JobRow
from services.shared.jobs import JobStore
from services.shared.storage import Base, Storage, migrate


def test_sqlite_is_durable_and_lets_readers_read(storage: Storage) -> None:
    with storage.reading() as session:
        modes = [session.scalar(text(f"PRAGMA {name}")) for name in ("journal_mode", "synchronous", "foreign_keys")]
    assert modes == ["wal", 2, 1]
    with storage.session() as writing, storage.reading() as reading:
        writing.execute(text("SELECT 1"))
        assert reading.scalar(text("SELECT count(*) FROM jobs")) == 0


def test_an_exception_rolls_back(storage: Storage, store: JobStore) -> None:
    job = store.submit("train", {})

    def break_off() -> None:
        with storage.session() as session:
            session.execute(update(JobRow).values(stage="half done"))
            raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="middle"):
        break_off()
    assert store.get(job.id).stage == "queued"


def test_migrations_make_the_declared_tables_and_run_twice(tmp_path: Path) -> None:
    storage = Storage(f"sqlite:///{tmp_path / 'deep' / 'x.db'}")
    for _ in range(2):
        migrate(storage, "services.llm")
    declared = {name for name in Base.metadata.tables if name.startswith("llm_") or name in ("jobs", "api_keys")}
    assert declared | {"alembic_version"} == set(inspect(storage.engine).get_table_names())
    with storage.engine.connect() as connection:
        context = MigrationContext.configure(connection)
        differences = [
            one for one in compare_metadata(context, Base.metadata) if "ctr" not in str(one) and one[0] != "add_table"
        ]
        named = [one for one in differences if getattr(one[1], "name", "") in declared]
    storage.close()
    assert named == []


def test_a_failed_migration_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "broken_service"
    versions = package / "migrations" / "versions"
    versions.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "migrations" / "env.py").write_text(
        "from services.shared.storage import run_migrations\nrun_migrations()\n"
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


def test_a_package_without_migrations_and_an_unreadable_url_are_refused(tmp_path: Path) -> None:
    storage = Storage(f"sqlite:///{tmp_path / 'x.db'}")
    with pytest.raises(OptionError, match="has no migrations"):
        migrate(storage, "services.shared")
    storage.close()
    with pytest.raises(OptionError, match="database URL"):
        Storage("no url at all")


def test_the_tables_are_postgres_tables_too() -> None:
    for table in Base.metadata.tables.values():
        assert str(CreateTable(table).compile(dialect=postgresql.dialect()))
