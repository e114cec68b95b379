"""Labels that arrive later than the scores: kept as they come, joined to the logged scores when those are looked at."""

from collections.abc import Sequence
from typing import Annotated, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, StrictInt, model_validator
from pydantic import Field as Setting
from sqlalchemy import ColumnElement, and_

from services.ctr.registry.store import NAME_PATTERN
from services.ctr.traffic.tables import LONGEST_ID, NO_ROW, OutcomeRow, ScoreRow
from services.shared.http.requests import LONGEST_REQUEST_ID
from services.shared.storage.clock import time_of
from services.shared.storage.storage import Storage
from services.shared.storage.text import storable
from services.shared.storage.upsert import insert_into

MOST_OUTCOMES = 10_000
ANY_MODEL = ""


def _as_text(value: object) -> object:
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return str(value) if is_number else value


class Outcome(BaseModel):
    """What came of one scored row: 1 for a click, 0 for none."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", json_schema_extra={"example": {"request_id": "0c9d6a5e4f", "row": 0, "label": 1}}
    )

    request_id: str | None = Setting(
        default=None, min_length=1, max_length=LONGEST_REQUEST_ID, description="Of the scoring request."
    )
    row: Annotated[StrictInt, Setting(ge=0, lt=2**31)] | None = Setting(
        default=None, description="The row of that request, counted from 0."
    )
    row_id: Annotated[str, BeforeValidator(_as_text), Setting(min_length=1, max_length=LONGEST_ID)] | None = Setting(
        default=None, description="The caller's own name of the row, a text or a whole number."
    )
    label: Annotated[StrictInt, Setting(ge=0, le=1)]
    model: str | None = Setting(
        default=None, pattern=NAME_PATTERN, description="The model that scored the row; by default whichever did."
    )

    @model_validator(mode="after")
    def _names_a_row(self) -> Self:
        if (self.row is None) == (self.row_id is None):
            raise ValueError("give either 'row', with 'request_id', or 'row_id'")
        if self.row is not None and self.request_id is None:
            raise ValueError("'row' needs the 'request_id' of the scoring request's answer")
        return self


class OutcomeList(BaseModel):
    """Several outcomes; of two for the same row the last one counts."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        json_schema_extra={
            "example": {
                "outcomes": [{"request_id": "0c9d6a5e4f", "row": 1, "label": 0}, {"row_id": "imp-17", "label": 1}]
            }
        },
    )

    outcomes: tuple[Outcome, ...] = Setting(max_length=MOST_OUTCOMES)


class Outcomes:
    """The labels in SQL."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def add(self, outcomes: Sequence[Outcome], models: Sequence[str] = (ANY_MODEL,)) -> None:
        """Keep the labels; one that came before for the same name of a row is replaced.

        Args:
            outcomes: the labels.
            models: what they are for where they do not say.

        Raises:
            UnavailableError: the database does not answer.
        """
        latest = {
            (storable(o.request_id or "", LONGEST_ID), NO_ROW if o.row is None else o.row, _name_of(o), model): o.label
            for o in outcomes
            for model in ([o.model] if o.model is not None else models)
        }
        if not latest:
            return
        keys = ["request_id", "row", "row_id", "model"]
        with self._storage.session() as session:
            at = time_of(session)
            # In one order everywhere: two writers never wait in a circle.
            rows = [dict(zip(keys, key, strict=True)) | {"label": latest[key], "at": at} for key in sorted(latest)]
            insert = insert_into(session, OutcomeRow)
            replaced = {name: insert.excluded[name] for name in ("label", "at")}
            session.execute(insert.on_conflict_do_update(index_elements=keys, set_=replaced), rows)


def _name_of(outcome: Outcome) -> str:
    return "" if outcome.row_id is None else storable(outcome.row_id, LONGEST_ID)


def ways_to_name(outcome: type[OutcomeRow]) -> tuple[ColumnElement[bool], ...]:
    """How an outcome names a logged score: by (request_id, row), (request_id, row_id), or row_id alone.

    No outcome names a score in two of these ways. Each is an equi-join for which `ScoreRow` has an index; joined by OR
    they would have none.
    """
    same_request = and_(outcome.request_id != "", outcome.request_id == ScoreRow.request_id)
    same_name = and_(outcome.row == NO_ROW, outcome.row_id == ScoreRow.row_id)
    return (
        and_(same_request, outcome.row == ScoreRow.row, outcome.row_id == ""),
        and_(same_request, same_name),
        and_(outcome.request_id == "", same_name),
    )
