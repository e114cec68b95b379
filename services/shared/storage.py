"""The SQL storage: an engine that is safe for several processes, sessions, and migrations run from code."""

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command, context
from alembic.config import Config
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.orm import DeclarativeBase, Session, sessionmaker

from llactr_core.errors import OptionError

BUSY_TIMEOUT_S = 20
MIGRATION_LOCK = 0x11AC72


class Base(DeclarativeBase):
    """The tables of this project."""


class Storage:
    """One database. `session()` is a transaction that may write, `reading()` one that never blocks a writer.

    On SQLite a writing transaction takes the write lock when it begins (BEGIN IMMEDIATE), so that what it read is
    still true when it writes; the file is in WAL mode and every commit reaches the disk.

    Raises:
        OptionError: the URL is none that SQLAlchemy understands.
    """

    def __init__(self, url: str) -> None:
        self.engine = _engine(url)
        self._write = sessionmaker(self.engine, expire_on_commit=False)
        self._read = sessionmaker(self.engine.execution_options(sqlite_begin="DEFERRED"), expire_on_commit=False)

    @contextmanager
    def session(self) -> Iterator[Session]:
        """A writing transaction: committed on success, rolled back on any exception."""
        with self._write.begin() as session:
            yield session

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A reading transaction."""
        with self._read.begin() as session:
            yield session

    def ping(self) -> None:
        """Ask the database for a sign of life; raises SQLAlchemy's OperationalError when there is none."""
        with self.reading() as session:
            session.execute(text("SELECT 1"))

    def close(self) -> None:
        """Close every pooled connection."""
        self.engine.dispose()


def _engine(url: str) -> Engine:
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise OptionError(f"the database URL cannot be read ({error}); give one like sqlite:///file.db") from None
    if parsed.get_backend_name() != "sqlite":
        return create_engine(parsed, pool_pre_ping=True)
    if parsed.database and parsed.database != ":memory:":
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(parsed, connect_args={"timeout": BUSY_TIMEOUT_S})
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _record: object) -> None:
    # The driver must not begin transactions on its own: `_begin_sqlite` does, in the mode that the session asked for.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in (f"busy_timeout={BUSY_TIMEOUT_S * 1000}", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    mode = connection.get_execution_options().get("sqlite_begin", "IMMEDIATE")
    connection.exec_driver_sql(f"BEGIN {mode}")


def migrate(storage: Storage, package: str) -> None:
    """Bring the database to the newest revision of `<package>/migrations`. Safe when several processes do it at once.

    Raises:
        OptionError: the package has no folder of migrations.
    """
    found = importlib.util.find_spec(package)
    folders = list(found.submodule_search_locations or []) if found else []
    if not folders or not (Path(folders[0]) / "migrations").is_dir():
        raise OptionError(f"{package!r} has no migrations; give the package that holds a folder 'migrations'")
    config = Config()
    config.set_main_option("script_location", str(Path(folders[0]) / "migrations").replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    with storage.engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": MIGRATION_LOCK})
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def run_migrations() -> None:
    """What a package's migrations/env.py calls: run the revisions on the connection that `migrate` opened."""
    context.configure(connection=context.config.attributes["connection"], target_metadata=Base.metadata)
    with context.begin_transaction():
        context.run_migrations()
