"""A schedule: as it is asked for, as code passes it around, and as the API shows it."""

from dataclasses import dataclass
from typing import Self

from pydantic import BaseModel, ConfigDict, JsonValue, model_validator
from pydantic import Field as Setting

from services.ctr.payloads import RefreshPlan
from services.shared.jobs.job import iso

HOUR_S = 3600.0
LEAST_HOURS = 1 / 60
MOST_HOURS = 8784.0
_EXAMPLE: dict[str, JsonValue] = {"every_hours": 24, "on_new_table": True, "request": {"mode": "retrain"}}


class ScheduleRequest(BaseModel):
    """When a model is refreshed, and how."""

    model_config = ConfigDict(frozen=True, extra="forbid", json_schema_extra={"example": _EXAMPLE})

    every_hours: float | None = Setting(
        default=None,
        ge=LEAST_HOURS,
        le=MOST_HOURS,
        description="Refresh so often, counted from this call; null: not by the clock.",
    )
    on_new_table: bool = Setting(
        default=False,
        description="Refresh when the LLM service's current field table is another one than the champion's.",
    )
    request: RefreshPlan = Setting(
        default=RefreshPlan(), description="What each refresh does; as in POST /v1/admin/refresh, without the model."
    )

    @model_validator(mode="after")
    def _ever_runs(self) -> Self:
        if self.every_hours is None and not self.on_new_table:
            raise ValueError("the schedule would never run; give 'every_hours' or 'on_new_table', or DELETE it")
        if self.every_hours is not None and self.request.table_version is not None:
            raise ValueError("with 'table_version' every run would be the same; leave it out, each tunes its own table")
        return self


class ScheduleView(BaseModel):
    """A schedule with what has come of it."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        json_schema_extra={
            "example": {
                "model": "bank-marketing",
                **_EXAMPLE,
                "next_at": "2026-11-03T10:00:00.000+00:00",
                "tried_table": None,
                "last_job": None,
                "updated_at": "2026-11-02T10:00:00.000+00:00",
            }
        },
    )

    model: str
    every_hours: float | None
    on_new_table: bool
    request: RefreshPlan
    next_at: str | None = Setting(description="When the clock starts the next refresh; ISO 8601, UTC.")
    tried_table: str | None = Setting(description="The last new field table for which a refresh was started.")
    last_job: str | None = Setting(description="The job of the last refresh that this schedule started.")
    updated_at: str


@dataclass(frozen=True)
class Schedule:
    """A schedule as it was when it was read. Times are seconds since the epoch by the database's clock."""

    model: str
    every_s: float | None
    on_new_table: bool
    plan: RefreshPlan
    next_at: float | None
    is_due: bool
    tried_table: str | None
    last_job: str | None
    updated_at: float

    def view(self) -> ScheduleView:
        """What the API shows."""
        return ScheduleView(
            model=self.model,
            every_hours=None if self.every_s is None else self.every_s / HOUR_S,
            on_new_table=self.on_new_table,
            request=self.plan,
            next_at=iso(self.next_at),
            tried_table=self.tried_table,
            last_job=self.last_job,
            updated_at=iso(self.updated_at) or "",
        )
