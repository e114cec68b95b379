"""What is known of a published field table besides its content."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from llactr_core.errors import NotFoundError
from services.llm.rows import FieldTableRow, TableAliasRow


@dataclass(frozen=True)
class TableInfo:
    """A published table without its vectors. `model_name` is what the model is loaded by; it is not shown outside."""

    schema: str
    version: str
    recipe: str
    fingerprint: str
    model: str
    model_name: str
    field_count: int
    width: int
    file_digest: str
    adapter_digest: str | None
    parent: str | None
    job_id: str | None
    metrics: dict[str, Any]
    extended: tuple[str, ...]
    created_at: float
    aliases: tuple[str, ...]


def info_of(session: Session, row: FieldTableRow) -> TableInfo:
    """The value of a row, with the aliases that point at it now."""
    aliases = session.scalars(
        select(TableAliasRow.alias)
        .where(TableAliasRow.schema_name == row.schema_name, TableAliasRow.version == row.version)
        .order_by(TableAliasRow.alias)
    )
    return TableInfo(
        schema=row.schema_name,
        version=row.version,
        recipe=row.recipe,
        fingerprint=row.fingerprint,
        model=row.model,
        model_name=row.model_name,
        field_count=row.field_count,
        width=row.width,
        file_digest=row.file_digest,
        adapter_digest=row.adapter_digest,
        parent=row.parent,
        job_id=row.job_id,
        metrics=row.metrics,
        extended=tuple(row.extended or ()),
        created_at=row.created_at,
        aliases=tuple(aliases),
    )


def no_table(schema: str, name: str) -> NotFoundError:
    """The error where a schema has no table of that version or alias."""
    return NotFoundError(
        f"schema {schema!r} has no field table {name!r}; GET /v1/fields/{schema}/versions lists what there is, "
        f"POST /v1/admin/fields/{schema}/refresh makes one"
    )
