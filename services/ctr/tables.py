"""The SQL tables of the model registry: models, their immutable versions, and the aliases that point at versions.

Times are seconds since the epoch (UTC).
"""

from typing import Any

from sqlalchemy import JSON, Double, ForeignKey, ForeignKeyConstraint, String, UniqueConstraint
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
