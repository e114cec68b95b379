"""Published field tables: their rows and aliases in SQL, told to everyone who reads them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from llactr_core.errors import ArtifactError, ConflictError, NotFoundError, OptionError
from llactr_core.semantics.table import FieldTable
from services.llm.plain import plain
from services.llm.rows import FieldTableRow
from services.llm.settings import LlmSettings
from services.llm.tables.aliases import (
    CURRENT,
    PREVIOUS,
    alias_pointers,
    hold_tables,
    move_alias,
    remove_alias,
    target_of,
)
from services.llm.tables.contents import Published, TableContents
from services.llm.tables.pointer import CHANNEL, Told, told_key
from services.llm.tables.table_info import TableInfo, info_of, no_table
from services.shared.storage.cache import Cache
from services.shared.storage.clock import time_of
from services.shared.storage.storage import Storage

__all__ = ["CURRENT", "PREVIOUS", "VERSION_LENGTH", "Origin", "Published", "TableStore"]

VERSION_LENGTH = 64


@dataclass(frozen=True)
class Origin:
    """Where a table that is to be published comes from; `model` is the name that the model is loaded by."""

    schema: str
    fingerprint: str
    model: str
    job_id: str | None


class TableStore:
    """The field tables of all schemas.

    Args:
        storage: the database.
        settings: where the artifacts lie, and how many tables stay in memory.
        cache: Redis, where there is one.
    """

    def __init__(self, storage: Storage, settings: LlmSettings, cache: Cache | None = None) -> None:
        self.storage = storage
        self._cache = cache or Cache(None)
        self.contents = TableContents(settings, self._cache)
        self._watchers: list[Callable[[], object]] = []

    def watch(self, changed: Callable[[], object]) -> None:
        """Call `changed` after each publication, move and deletion of this store, before it returns."""
        self._watchers.append(changed)

    def publish(self, table: FieldTable, origin: Origin, adapter: Path | None = None) -> TableInfo:
        """Store a table and let `current` point at it; publishing the same table twice is the same as once.

        Files come first, rows second: a row never names a file that is not complete. A clean-up may take files that
        no row names, so they are stored once more when the row is there; that does nothing where they still are.

        Args:
            table: K fields, vectors float32 [K, D].
            origin: where it comes from.
            adapter: the folder of the adapter that it was embedded with, which is copied.

        Raises:
            UnavailableError: the store of the artifacts does not answer.
        """
        digest, adapter_digest = self._keep(table, adapter)
        whole = self._whole_file(origin.schema, table.version)
        with self.changing(origin.schema) as session:
            row = session.get(FieldTableRow, (origin.schema, table.version))
            if row is None:
                row = _new_row(session, table, origin, digest)
                session.add(row)
            elif row.file_digest != whole:
                row.file_digest = digest
            row.adapter_digest = adapter_digest or row.adapter_digest
            session.flush()
            move_alias(session, origin.schema, CURRENT, table.version)
            info = info_of(session, row)
        self._keep(table, adapter)
        return info

    def by_recipe(self, schema: str, recipe: str) -> TableInfo | None:
        """The table of this schema that the recipe made already and whose files are whole, or None.

        Raises:
            UnavailableError: the store of the artifacts does not answer.
        """
        with self.storage.reading() as session:
            row = session.scalar(
                select(FieldTableRow)
                .where(FieldTableRow.schema_name == schema, FieldTableRow.recipe == recipe)
                .order_by(FieldTableRow.created_at.desc())
                .limit(1)
            )
            info = info_of(session, row) if row else None
        return info if info is not None and self._is_whole(info) else None

    def versions(self, schema: str) -> list[TableInfo]:
        """Every table of a schema, newest first."""
        with self.storage.reading() as session:
            rows = session.scalars(
                select(FieldTableRow)
                .where(FieldTableRow.schema_name == schema)
                .order_by(FieldTableRow.created_at.desc(), FieldTableRow.version)
            )
            return [info_of(session, row) for row in rows]

    def info(self, schema: str, name: str = CURRENT) -> TableInfo:
        """The table that a version or an alias names.

        Raises:
            NotFoundError: there is none.
        """
        with self.storage.reading() as session:
            return info_of(session, find_table(session, schema, name))

    def any_of_version(self, version: str, scopes: frozenset[str] | None = None) -> TableInfo:
        """A table by its version alone: of the first schema by name that has it, or the first of `scopes`.

        Raises:
            NotFoundError: there is none.
        """
        with self.storage.reading() as session:
            query = select(FieldTableRow).where(FieldTableRow.version == version).order_by(FieldTableRow.schema_name)
            rows = session.scalars(query).all()
            own = [one for one in rows if scopes is None or one.schema_name in scopes]
            row = next(iter([*own, *rows]), None)
            if row is None:
                raise NotFoundError(f"there is no field table {version!r}; GET /v1/fields/SCHEMA/versions lists them")
            return info_of(session, row)

    def read(self, info: TableInfo) -> Published:
        """The content of a table.

        Raises:
            ArtifactError: its file is missing, damaged, or another one than was published.
            UnavailableError: the store of the artifacts does not answer.
        """
        return self.contents.read(info.version, info.file_digest)

    def adapter(self, info: TableInfo) -> Path | None:
        """The folder of the adapter that a table was embedded with, named by its digest; None for the untuned model.

        Raises:
            ArtifactError: its files are not those that were published.
            UnavailableError: the store of the artifacts does not answer.
        """
        if info.adapter_digest is None:
            return None
        return self.contents.adapter(info.version, info.adapter_digest)

    def move(self, schema: str, alias: str, name: str) -> tuple[TableInfo, str | None]:
        """Let an alias point at a version (or where another alias points): the table, and the version before.

        Where `current` leaves a version, `previous` points at it afterwards, in the same transaction.

        Raises:
            NotFoundError: there is no such table.
            OptionError: the alias looks like a version.
        """
        if len(alias) == VERSION_LENGTH:
            raise OptionError(f"the alias {alias!r} looks like a version; give a short name", field="alias")
        with self.changing(schema) as session:
            row = find_table(session, schema, name)
            before = move_alias(session, schema, alias, row.version)
            info = info_of(session, row)
        return info, before

    def forget_alias(self, schema: str, alias: str) -> str:
        """Remove an alias; the version that it pointed at.

        Raises:
            NotFoundError: the schema has no such alias.
            ConflictError: it is `current` or `previous`, which are moved and never removed.
        """
        if alias in (CURRENT, PREVIOUS):
            raise ConflictError(
                f"the alias {alias!r} belongs to every schema with a field table; "
                f"move it instead: PUT /v1/fields/{schema}/aliases/{alias}"
            )
        with self.changing(schema) as session:
            version = remove_alias(session, schema, alias)
            if version is None:
                raise no_table(schema, alias)
        return version

    @contextmanager
    def alone(self) -> Iterator[Session]:
        """A writing transaction in which nobody else publishes, moves or deletes tables."""
        with self.storage.session() as session:
            hold_tables(session)
            yield session

    @contextmanager
    def changing(self, schema: str) -> Iterator[Session]:
        """The same, for a change of the schema's tables or aliases; every reader is told once it is committed."""
        with self.alone() as session:
            yield session
            session.flush()
            aliases = {alias: pointer for _, alias, pointer in alias_pointers(session, schema)}
        self._cache.put_many({told_key(schema): Told(aliases=aliases).model_dump_json().encode()})
        self._cache.publish(CHANNEL, schema)
        for changed in self._watchers:
            changed()

    def _keep(self, table: FieldTable, adapter: Path | None) -> tuple[str, str | None]:
        return self.contents.keep(table), self.contents.keep_adapter(adapter) if adapter else None

    def _whole_file(self, schema: str, version: str) -> str | None:
        """The digest of the file that the table has already, where it is there and undamaged."""
        with self.storage.reading() as session:
            row = session.get(FieldTableRow, (schema, version))
        return row.file_digest if row and self.contents.is_whole(version, row.file_digest) else None

    def _is_whole(self, info: TableInfo) -> bool:
        try:
            self.adapter(info)
        except ArtifactError:
            return False
        return self.contents.is_whole(info.version, info.file_digest)


def find_table(session: Session, schema: str, name: str) -> FieldTableRow:
    """The row that a version or an alias names.

    Raises:
        NotFoundError: there is none.
    """
    version = name if len(name) == VERSION_LENGTH else target_of(session, schema, name)
    row = session.get(FieldTableRow, (schema, version)) if version else None
    if row is None:
        raise no_table(schema, name)
    return row


def _new_row(session: Session, table: FieldTable, origin: Origin, digest: str) -> FieldTableRow:
    return FieldTableRow(
        schema_name=origin.schema,
        version=table.version,
        recipe=table.recipe,
        fingerprint=origin.fingerprint,
        model=table.model,
        model_name=origin.model,
        field_count=table.vectors.shape[0],
        width=table.vectors.shape[1],
        file_digest=digest,
        parent=target_of(session, origin.schema, CURRENT),
        job_id=origin.job_id,
        metrics=plain(dict(table.metrics)),
        extended=table.provenance.get("extended"),
        created_at=time_of(session),
    )
