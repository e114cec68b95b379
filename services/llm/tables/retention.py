"""Field tables that nobody uses any more: their rows go first, their files second, leftovers with the next round."""

import logging
import threading
import time
from collections.abc import Iterable
from contextlib import suppress

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from llactr_core.errors import ConflictError, LlactrError
from services.llm.rows import FieldTableRow
from services.llm.settings import LlmSettings
from services.llm.tables.contents import ADAPTERS, TABLES, adapter_name, table_name
from services.llm.tables.store import TableStore, find_table
from services.llm.tables.table_info import TableInfo, info_of

DAY_S = 24 * 3600.0
EVERY_S = 3600.0
FIRST_S = 60.0
ORPHAN_AGE_S = 3600.0
BATCH = 20

logger = logging.getLogger(__name__)


class Retention:
    """A table is unused when no alias points at it, it is none of the newest of its schema, and it is old enough.

    Args:
        tables: the store.
        settings: `keep_versions` and `keep_days`.
    """

    def __init__(self, tables: TableStore, settings: LlmSettings) -> None:
        self._tables = tables
        self._newest = settings.keep_versions
        self._age_s = settings.keep_days * DAY_S

    def unused(self, schema: str) -> list[TableInfo]:
        """The tables of a schema that the rule gives up, newest first."""
        until = time.time() - self._age_s
        return [
            info
            for info in self._tables.versions(schema)[self._newest :]
            if not info.aliases and info.created_at <= until
        ]

    def prune(self, schema: str) -> list[str]:
        """Delete the unused tables of a schema; their versions."""
        deleted = []
        for info in self.unused(schema):
            try:
                self.delete(schema, info.version)
            except ConflictError:  # an alias has moved there since
                continue
            deleted.append(info.version)
        return deleted

    def delete(self, schema: str, version: str) -> None:
        """Forget a table; its files go where no other table needs them.

        Raises:
            NotFoundError: there is no such table.
            ConflictError: an alias points at it.
        """
        with self._tables.changing(schema) as session:
            row = find_table(session, schema, version)
            aliases = info_of(session, row).aliases
            if aliases:
                raise ConflictError(
                    f"field table {row.version[:12]} is what {', '.join(map(repr, aliases))} of schema {schema!r} "
                    f"points at; move that first: PUT /v1/fields/{schema}/aliases/{aliases[0]}"
                )
            session.delete(row)
        self._drop(_artifacts_of(row))

    def sweep(self) -> int:
        """Delete the artifacts that no row names, but none that may belong to a table being published; how many."""
        with self._tables.storage.reading() as session:
            needed = _needed(session)
        until = time.time() - ORPHAN_AGE_S
        old = [name for name, modified_at in self._stored(needed).items() if modified_at <= until]
        return sum(self._drop(old[start : start + BATCH]) for start in range(0, len(old), BATCH))

    def round(self) -> None:
        """Prune every schema, and sweep."""
        with self._tables.storage.reading() as session:
            schemas = list(session.scalars(select(FieldTableRow.schema_name).distinct()))
        for schema in schemas:
            deleted = self.prune(schema)
            if deleted:
                logger.info("schema %s: %d unused field tables deleted", schema, len(deleted))
        swept = self.sweep()
        if swept:
            logger.info("%d artifacts deleted that no field table names", swept)

    def run(self, stop: threading.Event) -> None:
        """A round every hour until `stop`; one that fails is logged, and the next one does its work."""
        pause = FIRST_S
        while not stop.wait(pause):
            pause = EVERY_S
            try:
                self.round()
            except (LlactrError, SQLAlchemyError) as error:
                logger.warning("unused field tables could not be deleted: %s", error)

    def _stored(self, needed: set[str]) -> dict[str, float]:
        """The tables and adapters that are stored and not needed, and when each was written last."""
        artifacts = self._tables.contents.artifacts
        written: dict[str, float] = {}
        for file in [*artifacts.names(TABLES), *artifacts.names(ADAPTERS)]:
            name = "/".join(file.split("/")[:2])  # an adapter is a folder of files
            if name not in needed:
                with suppress(FileNotFoundError):  # another worker sweeps too
                    written[name] = max(written.get(name, 0.0), artifacts.modified_at(file))
        return written

    def _drop(self, names: Iterable[str]) -> int:
        with self._tables.alone() as session:
            needed = _needed(session)
            orphans = [name for name in names if name not in needed]
            for name in orphans:
                self._tables.contents.artifacts.delete(name)
        return len(orphans)


def _artifacts_of(row: FieldTableRow) -> list[str]:
    names = [table_name(row.version, row.file_digest)]
    return [*names, adapter_name(row.adapter_digest)] if row.adapter_digest else names


def _needed(session: Session) -> set[str]:
    query = select(FieldTableRow.version, FieldTableRow.file_digest, FieldTableRow.adapter_digest)
    needed = set()
    for version, file_digest, adapter_digest in session.execute(query):
        needed |= {table_name(version, file_digest), adapter_name(adapter_digest or "")}
    return needed
