"""Published field tables: rows and aliases in SQL, contents in files that are verified whenever they are read."""

import hashlib
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from llactr_core.errors import ArtifactError, NotFoundError, OptionError
from llactr_core.files import write_atomic
from llactr_core.semantics.table import FieldTable
from services.llm.plain import plain
from services.llm.settings import LlmSettings
from services.llm.table_info import TableInfo, info_of
from services.llm.tables import FieldTableRow, TableAliasRow
from services.shared.storage import Storage

CURRENT = "current"
PREVIOUS = "previous"
VERSION_LENGTH = 64


@dataclass(frozen=True)
class Published:
    """A field table as it is served: the parsed content, and the very bytes of its file."""

    table: FieldTable
    content: bytes


@dataclass(frozen=True)
class Origin:
    """Where a table that is to be published comes from; `model` is the name that the model is loaded by."""

    schema: str
    fingerprint: str
    model: str
    job_id: str | None


class TableStore:
    """The field tables of all schemas."""

    def __init__(self, storage: Storage, settings: LlmSettings) -> None:
        self.storage = storage
        self._tables = settings.tables
        self._adapters = settings.adapters
        self._size = settings.cached_tables
        self._cache: OrderedDict[str, Published] = OrderedDict()
        self._lock = threading.Lock()

    def publish(self, table: FieldTable, origin: Origin, adapter: Path | None = None) -> TableInfo:
        """Store a table and let `current` point at it; publishing the same table twice is the same as once.

        Files come first, rows second: a row never names a file that is not complete on the disk.

        Args:
            table: K fields, vectors float32 [K, D].
            origin: where it comes from.
            adapter: the folder of the adapter that it was embedded with, which is copied.
        """
        digests: dict[str, str | None] = {
            "file_digest": self._keep_content(table),
            "adapter_digest": self._keep_adapter(table.version, adapter) if adapter else None,
        }
        with self.storage.session() as session:
            if session.get(FieldTableRow, (origin.schema, table.version)) is None:
                session.add(_new_row(session, table, origin))
                session.flush()
            # Schemas that share a version share its files.
            session.execute(update(FieldTableRow).where(FieldTableRow.version == table.version).values(digests))
            _move(session, origin.schema, CURRENT, table.version)
        with self._lock:
            self._cache.pop(table.version, None)
        return self.info(origin.schema, table.version)

    def _keep_content(self, table: FieldTable) -> str:
        path = self._path(table.version)
        try:
            content = path.read_bytes()
            is_known = FieldTable.from_bytes(content).version == table.version
        except (OSError, ArtifactError):
            is_known = False
        if not is_known:
            content = table.to_bytes()
            write_atomic(path, content)
        return hashlib.sha256(content).hexdigest()

    def _keep_adapter(self, version: str, source: Path) -> str:
        digest = hashlib.sha256()
        for file in sorted(source.iterdir()):
            content = file.read_bytes()
            digest.update(f"{file.name}\0{hashlib.sha256(content).hexdigest()}\n".encode())
            write_atomic(self._adapters / version / file.name, content)
        return digest.hexdigest()

    def by_recipe(self, schema: str, recipe: str) -> TableInfo | None:
        """The table of this schema that the recipe made already, or None."""
        with self.storage.reading() as session:
            row = session.scalar(
                select(FieldTableRow)
                .where(FieldTableRow.schema_name == schema, FieldTableRow.recipe == recipe)
                .order_by(FieldTableRow.created_at.desc())
                .limit(1)
            )
            return info_of(session, row) if row else None

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
            return info_of(session, _find(session, schema, name))

    def any_of_version(self, version: str) -> TableInfo:
        """A table by its version alone, whichever schema it was published for.

        Raises:
            NotFoundError: there is none.
        """
        with self.storage.reading() as session:
            row = session.scalar(select(FieldTableRow).where(FieldTableRow.version == version).limit(1))
            if row is None:
                raise NotFoundError(f"there is no field table {version!r}; GET /v1/fields/SCHEMA/versions lists them")
            return info_of(session, row)

    def read(self, info: TableInfo) -> Published:
        """The content of a table.

        Raises:
            ArtifactError: its file is missing, damaged, or another one than was published.
        """
        with self._lock:
            known = self._cache.get(info.version)
            if known is not None:
                self._cache.move_to_end(info.version)
                return known
        fresh = self._load(info)
        with self._lock:
            self._cache[info.version] = fresh
            while len(self._cache) > self._size:
                self._cache.popitem(last=False)
        return fresh

    def _load(self, info: TableInfo) -> Published:
        path = self._path(info.version)
        try:
            content = path.read_bytes()
        except OSError as error:
            raise ArtifactError(
                f"the file of field table {info.version[:12]} cannot be read ({error.strerror}); refresh the fields"
            ) from error
        if hashlib.sha256(content).hexdigest() != info.file_digest:
            raise ArtifactError(
                f"the file of field table {info.version[:12]} is not what was published; refresh the fields"
            )
        table = FieldTable.from_bytes(content)
        return Published(table, content)

    def adapter(self, info: TableInfo) -> Path | None:
        """The folder of the adapter that a table was embedded with; None for the untuned model.

        Raises:
            ArtifactError: its files are not those that were published.
        """
        if info.adapter_digest is None:
            return None
        folder = self._adapters / info.version
        digest = hashlib.sha256()
        for file in sorted(folder.iterdir()) if folder.is_dir() else []:
            digest.update(f"{file.name}\0{hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
        if digest.hexdigest() != info.adapter_digest:
            raise ArtifactError(f"the adapter of field table {info.version[:12]} is damaged; refresh the fields")
        return folder

    def move(self, schema: str, alias: str, name: str) -> tuple[TableInfo, str | None]:
        """Let an alias point at a version (or where another alias points): the table, and the version before.

        Where `current` leaves a version, `previous` points at it afterwards, in the same transaction.

        Raises:
            NotFoundError: there is no such table.
            OptionError: the alias looks like a version.
        """
        if len(alias) == VERSION_LENGTH:
            raise OptionError(f"the alias {alias!r} looks like a version; give a short name", field="alias")
        with self.storage.session() as session:
            row = _find(session, schema, name)
            before = _move(session, schema, alias, row.version)
            session.flush()
            return info_of(session, row), before

    def _path(self, version: str) -> Path:
        return self._tables / f"{version}.safetensors"


def _new_row(session: Session, table: FieldTable, origin: Origin) -> FieldTableRow:
    return FieldTableRow(
        schema_name=origin.schema,
        version=table.version,
        recipe=table.recipe,
        fingerprint=origin.fingerprint,
        model=table.model,
        model_name=origin.model,
        field_count=table.vectors.shape[0],
        width=table.vectors.shape[1],
        file_digest="",
        parent=_target(session, origin.schema, CURRENT),
        job_id=origin.job_id,
        metrics=plain(dict(table.metrics)),
        created_at=time.time(),
    )


def _target(session: Session, schema: str, alias: str) -> str | None:
    return session.scalar(
        select(TableAliasRow.version).where(TableAliasRow.schema_name == schema, TableAliasRow.alias == alias)
    )


def _move(session: Session, schema: str, alias: str, version: str) -> str | None:
    before = _target(session, schema, alias)
    if before == version:
        return before
    session.merge(TableAliasRow(schema_name=schema, alias=alias, version=version, moved_at=time.time()))
    if alias == CURRENT and before is not None:
        _move(session, schema, PREVIOUS, before)
    return before


def _find(session: Session, schema: str, name: str) -> FieldTableRow:
    version = name if len(name) == VERSION_LENGTH else _target(session, schema, name)
    row = session.get(FieldTableRow, (schema, version)) if version else None
    if row is None:
        raise NotFoundError(
            f"schema {schema!r} has no field table {name!r}; GET /v1/fields/{schema}/versions lists what there is, "
            f"POST /v1/admin/fields/{schema}/refresh makes one"
        )
    return row
