"""The SQL tables of the model registry: models, their immutable versions, and the aliases that point at versions.

Times are seconds since the epoch (UTC).
"""

from typing import Any

from sqlalchemy import JSON, Double, ForeignKey, ForeignKeyConstraint, Index, Integer, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from services.shared.storage.storage import Base


class ModelRow(Base):
    """A model: a name under which versions are trained, registered and scored."""

    __tablename__ = "ctr_models"

    name: Mapped[str] = mapped_column(String(100), primary_key=True)
    created_at: Mapped[float] = mapped_column(Double)


class VersionRow(Base):
    """One trained bundle of a model. Written once; never changed."""

    __tablename__ = "ctr_versions"
    __table_args__ = (UniqueConstraint("model", "version", name="uq_ctr_versions"),)

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    model: Mapped[str] = mapped_column(String(100), ForeignKey("ctr_models.name"))
    version: Mapped[str] = mapped_column(String(128))
    created_at: Mapped[float] = mapped_column(Double)
    lineage: Mapped[dict[str, Any]] = mapped_column(JSON)
    metrics: Mapped[dict[str, Any]] = mapped_column(JSON)


class AliasRow(Base):
    """A movable name (`champion`, `challenger`, `previous`, ...) of one version of a model."""

    __tablename__ = "ctr_aliases"
    __table_args__ = (
        ForeignKeyConstraint(
            ["model", "version"], ["ctr_versions.model", "ctr_versions.version"], name="fk_ctr_aliases_version"
        ),
    )

    model: Mapped[str] = mapped_column(String(100), primary_key=True)
    alias: Mapped[str] = mapped_column(String(100), primary_key=True)
    version: Mapped[str] = mapped_column(String(128))
    updated_at: Mapped[float] = mapped_column(Double)


class MoveRow(Base):
    """One decision about an alias. Written once.

    `outcome` is "moved", "refused" (by the gate), "rolled-back" (moved to the champion before) or "removed".
    """

    __tablename__ = "ctr_moves"
    __table_args__ = (Index("ix_ctr_moves_model_alias", "model", "alias", "number"),)

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    model: Mapped[str] = mapped_column(String(100), ForeignKey("ctr_models.name"))
    alias: Mapped[str] = mapped_column(String(100))
    version: Mapped[str] = mapped_column(String(128))
    previous: Mapped[str | None] = mapped_column(String(128))
    outcome: Mapped[str] = mapped_column(String(16))
    reason: Mapped[str] = mapped_column(Text)
    gate: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    by: Mapped[str | None] = mapped_column(String(100))
    job: Mapped[str | None] = mapped_column(String(32))
    at: Mapped[float] = mapped_column(Double)


class ScheduleRow(Base):
    """When a model is refreshed without being asked: every so often, and when its field table has a new version.

    `next_at` is the next time by the database's clock; `tried_table` is the last table version that was acted on.
    """

    __tablename__ = "ctr_schedules"

    model: Mapped[str] = mapped_column(String(100), ForeignKey("ctr_models.name"), primary_key=True)
    every_s: Mapped[float | None] = mapped_column(Double)
    on_new_table: Mapped[int] = mapped_column(Integer)
    request: Mapped[dict[str, Any]] = mapped_column(JSON)
    next_at: Mapped[float | None] = mapped_column(Double)
    tried_table: Mapped[str | None] = mapped_column(String(128))
    last_job: Mapped[str | None] = mapped_column(String(32))
    updated_at: Mapped[float] = mapped_column(Double)
