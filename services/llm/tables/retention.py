"""Field tables that nobody uses any more: their rows go first, their files second, leftovers with the next round."""

import logging
import threading
import time
from collections.abc import Iterable

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from llactr_core.errors import ConflictError, LlactrError
from services.llm.rows import FieldTableRow
from services.llm.settings import LlmSettings
from services.llm.tables.contents import ADAPTERS, TABLES, adapter_name, table_name
from services.llm.tables.store import TableStore, find_table
from services.llm.tables.table_info import TableInfo, info_of
from services.shared.storage.clock import time_of

DAY_S = 24 * 3600.0
EVERY_S = 3600.0
FIRST_S = 60.0
ORPHAN_AGE_S = 3600.0

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
        with self._tables.storage.reading() as session:
            until = time_of(session) - self._age_s
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
        """Forget a table; `sweep` takes its files later, where no other table needs them.

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

    def sweep(self) -> int:
        """Delete the artifacts that no row names, but none that may belong to a table being published; how many.

        No transaction is open meanwhile, for a store may be slow. A publication renews the time of its files before
        it writes its row, and stores them once more afterwards: what is old here after a look at the rows is unused,
        and what is deleted before a publication ends is stored again.
        """
        artifacts, swept = self._tables.contents.artifacts, 0
        for name, files in self._stored().items():
            if name not in self._needed() and self._are_old(files):
                artifacts.delete(name)
                swept += 1
        artifacts.forget_copies({name.removeprefix(f"{ADAPTERS}/") for name in self._needed()}, ORPHAN_AGE_S)
        return swept

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

    def _stored(self) -> dict[str, list[str]]:
        """The files of every table and adapter that is stored and that no row names."""
        artifacts, needed = self._tables.contents.artifacts, self._needed()
        found: dict[str, list[str]] = {}
        for file in [*artifacts.names(TABLES), *artifacts.names(ADAPTERS)]:
            name = "/".join(file.split("/")[:2])  # an adapter is a folder of files
            if name not in needed:
                found.setdefault(name, []).append(file)
        return found

    def _are_old(self, files: Iterable[str]) -> bool:
        until = time.time() - ORPHAN_AGE_S
        try:
            return all(self._tables.contents.artifacts.modified_at(file) <= until for file in files)
        except FileNotFoundError:  # another worker sweeps too
            return False

    def _needed(self) -> set[str]:
        """The names of the artifacts that the rows name."""
        query = select(FieldTableRow.version, FieldTableRow.file_digest, FieldTableRow.adapter_digest)
        needed = set()
        with self._tables.storage.reading() as session:
            for version, file_digest, adapter_digest in session.execute(query):
                needed |= {table_name(version, file_digest), adapter_name(adapter_digest or "")}
        return needed
