"""Aliases in SQL: which table a name points at, moved one after the other, so that no move is lost."""

from collections.abc import Sequence

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from services.llm.rows import FieldTableRow, TableAliasRow
from services.llm.tables.pointer import Pointer, Revision
from services.shared.storage.clock import time_of
from services.shared.storage.storage import hold

CURRENT = "current"
PREVIOUS = "previous"
TABLES_LOCK = 0x11AC73
LATER_S = 1e-6


def hold_tables(session: Session) -> None:
    """Be the only one that publishes, moves and deletes tables until the transaction ends."""
    hold(session, TABLES_LOCK)


def target_of(session: Session, schema: str, alias: str) -> str | None:
    """The version that an alias points at, or None."""
    return session.scalar(
        select(TableAliasRow.version).where(TableAliasRow.schema_name == schema, TableAliasRow.alias == alias)
    )


def move_alias(session: Session, schema: str, alias: str, version: str) -> str | None:
    """Let an alias point at a version; what it pointed at before. Where `current` leaves one, `previous` goes there.

    `moved_at` is later than that of every other alias, whatever the database's clock says: it orders the moves.
    """
    before = target_of(session, schema, alias)
    if alias == CURRENT and before not in (None, version):
        move_alias(session, schema, PREVIOUS, str(before))
    latest = session.scalar(select(func.max(TableAliasRow.moved_at))) or 0.0
    moved_at = max(time_of(session), latest + LATER_S)
    session.merge(TableAliasRow(schema_name=schema, alias=alias, version=version, moved_at=moved_at))
    session.flush()
    return before


def remove_alias(session: Session, schema: str, alias: str) -> str | None:
    """Let a name point nowhere; the version that it pointed at, None where there was no such alias."""
    row = session.get(TableAliasRow, (schema, alias))
    if row is None:
        return None
    session.delete(row)
    return row.version


def revision_of(session: Session) -> Revision:
    """Differs after every publication, move and deletion."""
    moved = select(func.max(TableAliasRow.moved_at)).scalar_subquery()
    tables, aliases = (
        select(func.count()).select_from(rows).scalar_subquery() for rows in (FieldTableRow, TableAliasRow)
    )
    latest, table_count, alias_count = session.execute(select(moved, tables, aliases)).one()
    return Revision(latest or 0.0, table_count, alias_count)


def alias_pointers(session: Session, schema: str | None = None) -> Sequence[tuple[str, str, Pointer]]:
    """(schema, alias, pointer) of one schema, or of all."""
    query = select(TableAliasRow, FieldTableRow.file_digest).join(
        FieldTableRow,
        (FieldTableRow.schema_name == TableAliasRow.schema_name) & (FieldTableRow.version == TableAliasRow.version),
    )
    if schema is not None:
        query = query.where(TableAliasRow.schema_name == schema)
    return [
        (row.schema_name, row.alias, Pointer(version=row.version, file_digest=digest, moved_at=row.moved_at))
        for row, digest in session.execute(query)
    ]


def version_pointers(session: Session) -> Sequence[tuple[str, str, Pointer]]:
    """(schema, version, pointer) of every table."""
    query = select(FieldTableRow.schema_name, FieldTableRow.version, FieldTableRow.file_digest)
    return [
        (schema, version, Pointer(version=version, file_digest=digest))
        for schema, version, digest in session.execute(query)
    ]
