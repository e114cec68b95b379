"""The LLM service's own SQL tables. Times are seconds since the epoch (UTC)."""

from typing import Any

from sqlalchemy import JSON, Double, ForeignKeyConstraint, Index, Integer, LargeBinary, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from services.shared.storage.storage import Base


class SchemaRow(Base):
    """One version of a schema: what the language model reads never changes, encoding rules may be replaced."""

    __tablename__ = "llm_schemas"
    __table_args__ = (UniqueConstraint("name", "fingerprint", name="uq_llm_schemas_fingerprint"),)

    name: Mapped[str] = mapped_column(String(100), primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True)
    fingerprint: Mapped[str] = mapped_column(String(64))
    content: Mapped[dict[str, Any]] = mapped_column(JSON)
    registered_at: Mapped[float] = mapped_column(Double)


class FieldTableRow(Base):
    """A published field table; its content is a file named by the version."""

    __tablename__ = "llm_field_tables"
    __table_args__ = (Index("ix_llm_field_tables_recipe", "schema_name", "recipe"),)

    schema_name: Mapped[str] = mapped_column(String(100), primary_key=True)
    version: Mapped[str] = mapped_column(String(64), primary_key=True)
    recipe: Mapped[str] = mapped_column(String(64))
    fingerprint: Mapped[str] = mapped_column(String(64))
    model: Mapped[str] = mapped_column(Text)
    model_name: Mapped[str] = mapped_column(Text)
    field_count: Mapped[int] = mapped_column(Integer)
    width: Mapped[int] = mapped_column(Integer)
    file_digest: Mapped[str] = mapped_column(String(64))
    adapter_digest: Mapped[str | None] = mapped_column(String(64))
    parent: Mapped[str | None] = mapped_column(String(64))
    job_id: Mapped[str | None] = mapped_column(String(32))
    metrics: Mapped[dict[str, Any]] = mapped_column(JSON)
    extended: Mapped[list[str] | None] = mapped_column(JSON(none_as_null=True))
    created_at: Mapped[float] = mapped_column(Double)


class TableAliasRow(Base):
    """A name that points at one of a schema's field tables."""

    __tablename__ = "llm_table_aliases"
    __table_args__ = (
        ForeignKeyConstraint(["schema_name", "version"], ["llm_field_tables.schema_name", "llm_field_tables.version"]),
    )

    schema_name: Mapped[str] = mapped_column(String(100), primary_key=True)
    alias: Mapped[str] = mapped_column(String(50), primary_key=True)
    version: Mapped[str] = mapped_column(String(64))
    moved_at: Mapped[float] = mapped_column(Double)


class EmbeddingRow(Base):
    """The vector of a text, float32 [D] little-endian; the key is a digest of model, adapter, template and text."""

    __tablename__ = "llm_embeddings"

    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    vector: Mapped[bytes] = mapped_column(LargeBinary)
    tokens: Mapped[int] = mapped_column(Integer)
    used_at: Mapped[float] = mapped_column(Double, index=True)
