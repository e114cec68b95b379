"""Stores of what is known of entities: a Redis with a hash per entity, an SQL table with a row per entity."""

from collections.abc import Mapping, Sequence
from typing import Protocol, TypeAlias

import redis
from redis.backoff import NoBackoff
from redis.maint_notifications import MaintNotificationsConfig
from redis.retry import Retry
from sqlalchemy import URL, Column, ColumnElement, Integer, MetaData, String, Table, cast, create_engine, select
from sqlalchemy.engine import Connection, make_url
from sqlalchemy.exc import (
    ArgumentError,
    InterfaceError,
    NoSuchColumnError,
    OperationalError,
    SQLAlchemyError,
    TimeoutError,
)

from llactr_core.data.canonical import canonical
from llactr_core.errors import DataError, OptionError
from services.ctr.lookup.config import Entity, RedisSource, SqlSource

Known: TypeAlias = Mapping[str, object]
KEYS_AT_ONCE = 1000
CONNECTIONS = 4
NO_ANSWER = (redis.ConnectionError, redis.TimeoutError, OperationalError, InterfaceError, TimeoutError, OSError)
REFUSED = (redis.RedisError, SQLAlchemyError)


class EntityStore(Protocol):
    """Gives what is known of entities: canonical values, and for several values a list of them."""

    def fetch(self, keys: Sequence[str], columns: Sequence[str]) -> dict[str, Known]:
        """What is known of each entity, by its key; entities that the store does not have are left out.

        Raises:
            NO_ANSWER: the store does not answer.
            REFUSED: it answers, and refuses.
        """

    def close(self) -> None:
        """Close the connections."""


def open_store(entity: Entity, timeout_s: float) -> EntityStore:
    """The store of an entity; nothing is connected yet.

    Raises:
        OptionError: its URL cannot be read or is not set.
    """
    if entity.redis is not None:
        return RedisStore(entity.redis, timeout_s)
    if entity.sql is not None:
        return SqlStore(entity.sql, timeout_s)
    raise OptionError(f"entity {entity.entity!r} has no source; give redis or sql")


class RedisStore:
    """Entities as Redis hashes, a thousand in a round trip."""

    def __init__(self, source: RedisSource, timeout_s: float) -> None:
        self._prefix = source.prefix
        try:
            self._client = redis.Redis.from_url(
                source.resolved(),
                socket_timeout=timeout_s,
                socket_connect_timeout=timeout_s,
                retry=Retry(NoBackoff(), 0),
                maint_notifications_config=MaintNotificationsConfig(enabled=False),
            )
        except ValueError:  # whose messages quote parts of the URL, such as a piece of its password
            raise OptionError("the lookup's Redis URL cannot be read; give one like redis://host:6379/0") from None

    def fetch(self, keys: Sequence[str], columns: Sequence[str]) -> dict[str, Known]:
        """See `EntityStore`. A hash without any of the columns, and a key that holds no hash, count as not there."""
        found: dict[str, Known] = {}
        for start in range(0, len(keys), KEYS_AT_ONCE):
            part = keys[start : start + KEYS_AT_ONCE]
            with self._client.pipeline(transaction=False) as pipeline:
                for key in part:
                    pipeline.hmget(self._prefix + key, list(columns))
                answers = pipeline.execute(raise_on_error=False)
            for key, values in zip(part, answers, strict=True):
                known = {} if isinstance(values, Exception) else _known(columns, values)
                if known:
                    found[key] = known
        return found

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


class SqlStore:
    """Entities as rows of a table or view; its columns are those that it has of the schema's."""

    def __init__(self, source: SqlSource, timeout_s: float) -> None:
        self._source = source
        self._table: Table | None = None
        try:
            url = make_url(source.resolved())
            if url.drivername == "postgresql":
                url = url.set(drivername="postgresql+psycopg")
            self._engine = create_engine(
                url,
                connect_args=_patience(url, timeout_s),
                hide_parameters=True,
                pool_pre_ping=True,
                pool_size=CONNECTIONS,
                max_overflow=0,
                pool_timeout=timeout_s,
            )
        except (ArgumentError, ValueError, ImportError):
            raise OptionError(
                "the lookup's database URL cannot be read; give postgresql://user@host/database or sqlite:///file.db"
            ) from None

    def fetch(self, keys: Sequence[str], columns: Sequence[str]) -> dict[str, Known]:
        """See `EntityStore`. Of several rows with one key the last one counts."""
        with self._engine.connect() as connection:
            table = self._reflected(connection)
            column = table.c[self._source.key]
            wanted = [table.c[name] for name in columns if name in table.c]
            found: dict[str, Known] = {}
            for start in range(0, len(keys), KEYS_AT_ONCE):
                compared, values = _comparable(column, keys[start : start + KEYS_AT_ONCE])
                for key, *row in connection.execute(select(column, *wanted).where(compared.in_(values))):
                    found[str(key)] = _known([c.name for c in wanted], row)
        return found

    def _reflected(self, connection: Connection) -> Table:
        if self._table is None:
            schema, _, name = self._source.table.rpartition(".")
            table = Table(name, MetaData(), schema=schema or None, autoload_with=connection)
            if self._source.key not in table.c:
                raise NoSuchColumnError(f"{self._source.table} has no column {self._source.key!r}")
            self._table = table
        return self._table

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()


def _patience(url: URL, timeout_s: float) -> dict[str, object]:
    if url.get_backend_name() != "postgresql":
        return {"timeout": timeout_s}
    milliseconds = max(1, int(timeout_s * 1000))
    return {
        "connect_timeout": 2,
        "tcp_user_timeout": 2000,
        "options": f"-c statement_timeout={milliseconds}",
    }


def _comparable(column: Column[object], keys: Sequence[str]) -> tuple[ColumnElement[object], list[object]]:
    """The key's column and the keys in a form in which the database can use the column's index."""
    if isinstance(column.type, Integer):
        return column, [int(key) for key in keys if key.removeprefix("-").isdecimal() and len(key) < 19]
    texts: list[object] = [key for key in keys if "\0" not in key]
    return (column if isinstance(column.type, String) else cast(column, String)), texts


def _known(columns: Sequence[str], values: Sequence[object]) -> Known:
    plain = {name: _plain(value) for name, value in zip(columns, values, strict=True)}
    return {name: value for name, value in plain.items() if value is not None}


def _plain(value: object) -> object:
    """A value of a store as a row may hold it; None for what no row can hold, as bytes that are no text."""
    try:
        if isinstance(value, list | tuple):
            return [canonical(part) for part in value]
        return canonical(value)
    except DataError:
        return None
