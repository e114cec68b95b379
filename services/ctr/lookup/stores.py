"""Stores of what is known of entities: a Redis with a hash per entity, an SQL table with a row per entity."""

from collections.abc import Mapping, Sequence
from typing import Protocol, TypeAlias

import redis
from redis.backoff import NoBackoff
from redis.maint_notifications import MaintNotificationsConfig
from redis.retry import Retry
from sqlalchemy import MetaData, String, Table, cast, create_engine, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from llactr_core.errors import OptionError
from services.ctr.lookup.config import Entity, RedisSource, SqlSource

Known: TypeAlias = Mapping[str, object]
KEYS_AT_ONCE = 1000
NO_ANSWER = (redis.RedisError, SQLAlchemyError, OSError)


class EntityStore(Protocol):
    """Gives what is known of entities."""

    def fetch(self, keys: Sequence[str], columns: Sequence[str]) -> dict[str, Known]:
        """What is known of each entity, by its key; entities that the store does not have are left out.

        Raises:
            redis.RedisError, SQLAlchemyError, OSError: the store does not answer.
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
    """Entities as Redis hashes, all of a request in one round trip."""

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
        """See `EntityStore`. A hash without any of the columns counts as not there."""
        with self._client.pipeline(transaction=False) as pipeline:
            for key in keys:
                pipeline.hmget(self._prefix + key, list(columns))
            answers = pipeline.execute()
        found: dict[str, Known] = {}
        for key, values in zip(keys, answers, strict=True):
            known = {c: v.decode("utf-8", "replace") for c, v in zip(columns, values, strict=True) if v is not None}
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
            is_postgres = url.get_backend_name() == "postgresql"
            told = (
                {"options": f"-c statement_timeout={int(timeout_s * 1000)}"} if is_postgres else {"timeout": timeout_s}
            )
            self._engine = create_engine(url, connect_args=told, hide_parameters=True, pool_pre_ping=True)
        except (ArgumentError, ValueError, ImportError):
            raise OptionError(
                "the lookup's database URL cannot be read; give postgresql://user@host/database or sqlite:///file.db"
            ) from None

    def fetch(self, keys: Sequence[str], columns: Sequence[str]) -> dict[str, Known]:
        """See `EntityStore`. Of several rows with one key the last one counts."""
        with self._engine.connect() as connection:
            if self._table is None:
                name = self._source.table
                schema, _, bare = name.rpartition(".")
                self._table = Table(bare, MetaData(), schema=schema or None, autoload_with=connection)
            table = self._table
            key = cast(table.c[self._source.key], String)
            wanted = [table.c[column] for column in columns if column in table.c]
            found: dict[str, Known] = {}
            for start in range(0, len(keys), KEYS_AT_ONCE):
                query = select(key, *wanted).where(key.in_(list(keys[start : start + KEYS_AT_ONCE])))
                for name, *values in connection.execute(query):
                    found[str(name)] = {c.name: v for c, v in zip(wanted, values, strict=True)}
        return found

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()
