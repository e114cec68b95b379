"""The SQL tables of overlays. Times are seconds since the epoch (UTC) by the database's clock."""

from sqlalchemy import Double, Integer, LargeBinary, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from services.shared.storage.storage import Base


class OverlayHeadRow(Base):
    """Where the overlay of one version stands: how many rows it has, and the digest of all of them in turn."""

    __tablename__ = "ctr_overlays"

    model: Mapped[str] = mapped_column(String(100), primary_key=True)
    version: Mapped[str] = mapped_column(String(128), primary_key=True)
    rows: Mapped[int] = mapped_column(Integer)
    digest: Mapped[str] = mapped_column(String(64))
    updated_at: Mapped[float] = mapped_column(Double)


class OverlayValueRow(Base):
    """One value that a version's overlay knows. Written once; `row` and `scene` are little-endian float32.

    `source` is "admin" or "background".
    """

    __tablename__ = "ctr_overlay_values"
    __table_args__ = (UniqueConstraint("model", "version", "field", "value", name="uq_ctr_overlay_values"),)

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    model: Mapped[str] = mapped_column(String(100))
    version: Mapped[str] = mapped_column(String(128))
    field: Mapped[str] = mapped_column(String(200))
    value: Mapped[str] = mapped_column(String(256))
    row: Mapped[bytes] = mapped_column(LargeBinary)
    scene: Mapped[bytes | None] = mapped_column(LargeBinary)
    source: Mapped[str] = mapped_column(String(16))
    at: Mapped[float] = mapped_column(Double)
