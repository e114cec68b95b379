"""The SQL tables of live traffic. Times are seconds since the epoch (UTC) by the database's clock; an hour is such a
time divided by 3600, rounded down.
"""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import JSON, BigInteger, Double, ForeignKey, Index, Integer, SmallInteger, String, text
from sqlalchemy.orm import Mapped, mapped_column

from services.shared.storage.storage import Base

HOUR_S = 3600.0
NO_ROW = -1
LONGEST_ID = 200
HAS_ROW_ID = text("row_id IS NOT NULL")


class TrafficRow(Base):
    """The plan of one model: its arms, its shadow, and how much is logged."""

    __tablename__ = "ctr_traffic"

    model: Mapped[str] = mapped_column(String(100), ForeignKey("ctr_models.name"), primary_key=True)
    plan: Mapped[dict[str, Any]] = mapped_column(JSON)
    updated_at: Mapped[float] = mapped_column(Double)


def named_by(plan: Mapping[str, Any]) -> set[str]:
    """Every alias that a plan, as `TrafficRow` keeps it, names."""
    shadow = plan.get("shadow")
    return {arm["alias"] for arm in plan["arms"]} | ({shadow["alias"]} if shadow else set())


class ScoreRow(Base):
    """One logged score. `shadow` is 1 where nobody was answered with it; `arm` is the alias of the experiment."""

    __tablename__ = "ctr_scores"
    __table_args__ = (
        Index("ix_ctr_scores_model_at", "model", "at"),
        Index("ix_ctr_scores_row_id", "row_id", postgresql_where=HAS_ROW_ID, sqlite_where=HAS_ROW_ID),
    )

    request_id: Mapped[str] = mapped_column(String(LONGEST_ID), primary_key=True)
    row: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    model: Mapped[str] = mapped_column(String(100), primary_key=True)
    version: Mapped[str] = mapped_column(String(128), primary_key=True)
    row_id: Mapped[str | None] = mapped_column(String(LONGEST_ID))
    arm: Mapped[str | None] = mapped_column(String(100))
    shadow: Mapped[int] = mapped_column(SmallInteger)
    score: Mapped[float] = mapped_column(Double)
    at: Mapped[float] = mapped_column(Double)


class OutcomeRow(Base):
    """One label, named by (request_id, row), (request_id, row_id) or row_id alone: what was not given is "" or -1.

    `model` is "" where the label is for whatever model scored the row.
    """

    __tablename__ = "ctr_outcomes"
    __table_args__ = (Index("ix_ctr_outcomes_at", "at"),)

    request_id: Mapped[str] = mapped_column(String(LONGEST_ID), primary_key=True)
    row: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    row_id: Mapped[str] = mapped_column(String(LONGEST_ID), primary_key=True)
    model: Mapped[str] = mapped_column(String(100), primary_key=True)
    label: Mapped[int] = mapped_column(SmallInteger)
    at: Mapped[float] = mapped_column(Double)


class DriftRow(Base):
    """How many logged rows of an hour fell into one bin of a field; the field "" stands for the scores."""

    __tablename__ = "ctr_drift"

    model: Mapped[str] = mapped_column(String(100), primary_key=True)
    version: Mapped[str] = mapped_column(String(128), primary_key=True)
    hour: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    field: Mapped[str] = mapped_column(String(200), primary_key=True)
    bin: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    rows: Mapped[int] = mapped_column(BigInteger)


class ShadowRow(Base):
    """The sums of one hour over rows that were answered by `version` (a) and also scored by `shadow` (b)."""

    __tablename__ = "ctr_shadow"

    model: Mapped[str] = mapped_column(String(100), primary_key=True)
    version: Mapped[str] = mapped_column(String(128), primary_key=True)
    shadow: Mapped[str] = mapped_column(String(128), primary_key=True)
    hour: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    rows: Mapped[int] = mapped_column(BigInteger)
    difference: Mapped[float] = mapped_column(Double)
    largest: Mapped[float] = mapped_column(Double)
    a: Mapped[float] = mapped_column(Double)
    b: Mapped[float] = mapped_column(Double)
    aa: Mapped[float] = mapped_column(Double)
    bb: Mapped[float] = mapped_column(Double)
    ab: Mapped[float] = mapped_column(Double)


class LiveRow(Base):
    """What a model's live numbers were when a worker last computed them; the APIs show them as metrics."""

    __tablename__ = "ctr_live"

    model: Mapped[str] = mapped_column(String(100), primary_key=True)
    numbers: Mapped[dict[str, Any]] = mapped_column(JSON)
    at: Mapped[float] = mapped_column(Double)
