"""A job: its row in SQL, the immutable value that code passes around, and what the outside sees of it."""

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import JSON, Double, Index, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from services.shared.storage.storage import Base


class State(StrEnum):
    """Where a job stands. The last three are final."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


FINAL = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED})


class JobRow(Base):
    """The table `jobs`. Times are seconds since the epoch (UTC).

    `furthest` is the most progress of all attempts, and `fruitless` counts the attempts since it last grew.
    """

    __tablename__ = "jobs"
    __table_args__ = (
        Index("ix_jobs_state_created", "state", "created_at"),
        Index("ix_jobs_lane_started", "lane", "started_at"),
    )

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    kind: Mapped[str] = mapped_column(String(50))
    lane: Mapped[str] = mapped_column(String(100), default="", server_default="")
    traceparent: Mapped[str | None] = mapped_column(String(64))
    payload: Mapped[dict[str, Any]] = mapped_column(JSON, deferred=True)
    active_key: Mapped[str | None] = mapped_column(String(200), unique=True)
    state: Mapped[str] = mapped_column(String(20), default=State.QUEUED.value)
    stage: Mapped[str] = mapped_column(Text, default="queued")
    progress: Mapped[float] = mapped_column(Double, default=0.0)
    step: Mapped[int | None] = mapped_column(Integer)
    loss: Mapped[float | None] = mapped_column(Double)
    eta_s: Mapped[float | None] = mapped_column(Double)
    result: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    error: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    attempts: Mapped[int] = mapped_column(Integer, default=0)
    fruitless: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    furthest: Mapped[float] = mapped_column(Double, default=0.0, server_default="0")
    waits: Mapped[int] = mapped_column(Integer, default=0)
    cancel_requested: Mapped[int] = mapped_column(Integer, default=0)
    owner: Mapped[str | None] = mapped_column(String(200))
    lease_until: Mapped[float] = mapped_column(Double, default=0.0)
    not_before: Mapped[float] = mapped_column(Double, default=0.0)
    created_at: Mapped[float] = mapped_column(Double)
    updated_at: Mapped[float] = mapped_column(Double)
    started_at: Mapped[float | None] = mapped_column(Double)
    finished_at: Mapped[float | None] = mapped_column(Double)


@dataclass(frozen=True)
class Job:
    """A job as it was when it was read. `owner` is the token of the claim that may change it.

    The payload may be large: it is there after `claim`, `submit` and `get`, and empty after `peek` and `recent`.
    """

    id: str
    kind: str
    lane: str
    traceparent: str | None
    payload: dict[str, Any]
    state: State
    stage: str
    progress: float
    step: int | None
    loss: float | None
    eta_s: float | None
    result: dict[str, Any] | None
    error: dict[str, Any] | None
    attempts: int
    waits: int
    cancel_requested: bool
    owner: str | None
    created_at: float
    started_at: float | None
    finished_at: float | None

    @property
    def is_final(self) -> bool:
        """Whether nothing about the job will change any more."""
        return self.state in FINAL

    def public(self) -> dict[str, Any]:
        """What the HTTP API shows: everything but the payload and the claim."""
        return {
            "id": self.id,
            "kind": self.kind,
            "state": self.state.value,
            "stage": "cancelling" if self.cancel_requested and not self.is_final else self.stage,
            "progress": self.progress,
            "eta_s": self.eta_s,
            "step": self.step,
            "loss": self.loss,
            "result": self.result,
            "error": self.error,
            "attempts": self.attempts,
            "created_at": iso(self.created_at),
            "started_at": iso(self.started_at),
            "finished_at": iso(self.finished_at),
        }


def iso(seconds: float | None) -> str | None:
    """Seconds since the epoch as RFC 3339 in UTC; None stays None."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def job_of(row: JobRow, with_payload: bool = True) -> Job:
    """The immutable value of a row."""
    return Job(
        id=row.id,
        kind=row.kind,
        lane=row.lane,
        traceparent=row.traceparent,
        payload=row.payload if with_payload else {},
        state=State(row.state),
        stage=row.stage,
        progress=row.progress,
        step=row.step,
        loss=row.loss,
        eta_s=row.eta_s,
        result=row.result,
        error=row.error,
        attempts=row.attempts,
        waits=row.waits,
        cancel_requested=bool(row.cancel_requested),
        owner=row.owner,
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
    )
