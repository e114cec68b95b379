"""The SQL storage: an engine that is safe for several processes, sessions, and when to migrate."""

import importlib.util
import logging
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, func, inspect, select, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    InterfaceError,
    InternalError,
    OperationalError,
    PendingRollbackError,
    SQLAlchemyError,
    TimeoutError,
)
from sqlalchemy.orm import DeclarativeBase, Session, sessionmaker
from sqlalchemy.pool import ConnectionPoolEntry

from llactr_core.errors import OptionError, UnavailableError
from services.shared.storage.clock import teach_clock

BUSY_TIMEOUT_S = 20
POOL_SIZE = 10
POOL_OVERFLOW = 30
POOL_TIMEOUT_S = 10
WAIT_S = 1.0
# What libpq is told where the URL says nothing else: a server that is gone is noticed within about ten seconds.
POSTGRES = {
    "connect_timeout": "5",
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "10000",
    "application_name": "llactr",
    "options": "-c statement_timeout=30s -c lock_timeout=20s -c idle_in_transaction_session_timeout=60s",
}
# The driver cannot reach the server, lost it in the middle, or reached one that does not take writes (a failover).
NO_ANSWER = (OperationalError, InterfaceError, InternalError, PendingRollbackError, TimeoutError)

logger = logging.getLogger(__name__)


class Base(DeclarativeBase):
    """The tables of this project."""


class Storage:
    """One database. `session()` is a transaction that may write, `reading()` one that never blocks a writer.

    On SQLite a writing transaction takes the write lock when it begins (BEGIN IMMEDIATE), so that what it read is
    still true when it writes; the file is in WAL mode and every commit reaches the disk.

    Every method raises UnavailableError while the database does not answer. Whether a transaction that was being
    committed at that moment took effect is then unknown.

    Args:
        url: SQLAlchemy's, of SQLite or PostgreSQL; what libpq may be told stands in its query.

    Raises:
        OptionError: the URL cannot be read, or is one of another database.
    """

    def __init__(self, url: str) -> None:
        self.engine = _engine(url)
        self._write = sessionmaker(self.engine, expire_on_commit=False)
        self._read = sessionmaker(self.engine.execution_options(sqlite_begin="DEFERRED"), expire_on_commit=False)
        self._is_closed = False
        event.listen(self.engine, "checkin", self._drop_if_closed)

    @contextmanager
    def session(self) -> Iterator[Session]:
        """A writing transaction: committed on success, rolled back on any exception."""
        with _answering(), self._write.begin() as session:
            yield session

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A reading transaction."""
        with _answering(), self._read.begin() as session:
            yield session

    def ping(self) -> None:
        """Ask the database for a sign of life."""
        with self.reading() as session:
            session.execute(text("SELECT 1"))

    def await_answer(self, seconds: float) -> None:
        """Return as soon as the database answers.

        Raises:
            UnavailableError: it does not for so many seconds.
        """
        deadline = time.monotonic() + seconds
        while True:
            try:
                return self.ping()
            except UnavailableError:
                if time.monotonic() >= deadline:
                    raise
                time.sleep(WAIT_S)

    def revision(self) -> str | None:
        """The revision that migrations have brought the database to; None for a new one.

        Raises:
            UnavailableError: the database does not answer.
        """
        with _answering(), self.engine.connect() as connection:
            if not inspect(connection).has_table("alembic_version"):
                return None
            found: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
            return found

    def close(self) -> None:
        """Close every pooled connection, and those in use when they come back."""
        self._is_closed = True
        self.engine.dispose()

    def _drop_if_closed(self, _connection: object, record: ConnectionPoolEntry) -> None:
        if self._is_closed:
            record.close()


def hold(session: Session, lock: int) -> None:
    """Be the only transaction that holds the lock, until it ends. On SQLite whoever writes is alone anyway."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(select(func.pg_advisory_xact_lock(lock)))


def _engine(url: str) -> Engine:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):  # whose messages quote parts of the URL, such as a piece of its password
        raise OptionError(
            "the database URL cannot be read; give sqlite:///file.db or postgresql://user@host:5432/database, "
            "with special characters of a password escaped as %40"
        ) from None
    if parsed.get_backend_name() == "sqlite":
        return _sqlite(parsed)
    if parsed.drivername in ("postgresql", "postgresql+psycopg"):
        told = {name: value for name, value in POSTGRES.items() if name not in parsed.query}
        return create_engine(
            parsed.set(drivername="postgresql+psycopg"),
            connect_args=told,
            hide_parameters=True,
            pool_pre_ping=True,
            pool_size=POOL_SIZE,
            max_overflow=POOL_OVERFLOW,
            pool_timeout=POOL_TIMEOUT_S,
        )
    raise OptionError(
        f"the database URL names {parsed.drivername!r}; give sqlite:///file.db or postgresql://user@host/database"
    )


def _sqlite(url: URL) -> Engine:
    if url.database and url.database != ":memory:":
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_S}, hide_parameters=True)
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


@contextmanager
def _answering() -> Iterator[None]:
    try:
        yield
    except SQLAlchemyError as error:
        is_lost = isinstance(error, DBAPIError) and error.connection_invalidated
        if not is_lost and (not isinstance(error, NO_ANSWER) or _is_wrong_statement(error)):
            raise
        logger.warning("the storage does not answer: %s", error)
        raise UnavailableError("the storage does not answer; send the call again later") from error


def _is_wrong_statement(error: SQLAlchemyError) -> bool:
    """Whether SQLite refused the statement itself, as for a table that is not there: no outage, but a mistake."""
    original = error.orig if isinstance(error, DBAPIError) else None
    return getattr(original, "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR


def _prepare_sqlite(connection: Any, _record: object) -> None:
    # The driver must not begin transactions on its own: `_begin_sqlite` does, in the mode that the session asked for.
    connection.isolation_level = None
    teach_clock(connection)
    cursor = connection.cursor()
    for pragma in (f"busy_timeout={BUSY_TIMEOUT_S * 1000}", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    mode = connection.get_execution_options().get("sqlite_begin", "IMMEDIATE")
    connection.exec_driver_sql(f"BEGIN {mode}")


def migrate(storage: Storage, package: str, revision: str = "head") -> None:
    """Bring the database up or down to a revision of `<package>/migrations`. Safe when several processes do it at once.

    A database that is at the newest revision costs one query: Alembic is imported where there is something to do.

    Args:
        storage: the database.
        package: the package whose migrations they are.
        revision: the name of one, `head` for the newest or `base` for an empty database.

    Raises:
        OptionError: the package has no folder of migrations, or none of them is the revision.
        UnavailableError: the database does not answer.
    """
    newest = _newest(package)
    if revision == "head" and newest is not None and storage.revision() == newest:
        return
    from services.shared.storage.migration import bring

    with _answering():
        bring(storage.engine, package, revision)


def _newest(package: str) -> str | None:
    """What `<package>/migrations` calls its newest revision; None where it does not say."""
    if importlib.util.find_spec(package) is None or importlib.util.find_spec(f"{package}.migrations") is None:
        return None
    return getattr(importlib.import_module(f"{package}.migrations"), "NEWEST", None)
