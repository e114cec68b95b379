"""Values that appeared after training, over HTTP."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query
from pydantic import BaseModel, ConfigDict
from pydantic import Field as Setting

from llactr_core.errors import TooLargeError
from services.ctr.registry.store import CHAMPION, NAME_PATTERN, Registry
from services.ctr.values.adding import Adder, Addition
from services.ctr.values.store import OverlayStore, Stored
from services.shared.access.auth import Guard, Role
from services.shared.http.problems import documented
from services.shared.http.route import CheckedRoute
from services.shared.jobs.job import iso

PATH = "/v1/admin/models/{model}/values"
MOST_VALUES = 1_000  # of all fields in a call
ADMIN = "admin"
ModelPath = Annotated[str, Path(pattern=NAME_PATTERN, description="The model's name.", examples=["movies"])]
VersionQuery = Annotated[str, Query(max_length=128, description="A version or an alias.", examples=["champion"])]
Value = str | int | float | bool | None


class ValuesRequest(BaseModel):
    """Values that a version shall know from here on."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        json_schema_extra={"example": {"values": {"title": ["Toy Story 5 (2026)"]}}},
    )

    version: str = Setting(default=CHAMPION, max_length=128, description="A version or an alias.")
    values: dict[str, Annotated[list[Value], Setting(min_length=1, max_length=MOST_VALUES)]] = Setting(
        min_length=1, max_length=200, description=f"By the field's name; at most {MOST_VALUES:,} in all."
    )


class FieldAddition(BaseModel):
    """What came of the values of one field."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    added: list[str] = Setting(description="They have rows from here on.")
    known: list[str] = Setting(description="The version knew them, or its overlay did.")
    refused: dict[str, str] = Setting(description="The reason, by value.")


class ValuesAnswer(BaseModel):
    """What came of a call, and where the overlay stands; every API process serves it within a few seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    version: str
    overlay: str = Setting(
        description="The digest of all its rows, which answers name; the version's where it is empty."
    )
    rows: int = Setting(description="How many values it has.")
    fields: dict[str, FieldAddition]


class OverlayValue(BaseModel):
    """One value of an overlay."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    number: int = Setting(description="Grows with time; give the last one as `after` to see what follows.")
    field: str
    value: str
    source: str = Setting(description="admin or background.")
    at: str = Setting(description="ISO 8601, UTC.")


class OverlayView(BaseModel):
    """An overlay, or a part of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    version: str
    overlay: str
    rows: int
    values: list[OverlayValue]


class Dropped(BaseModel):
    """How many values were forgotten."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dropped: int


def values_router(adder: Adder, store: OverlayStore, registry: Registry, guard: Guard) -> APIRouter:
    """Add, list and drop the values of overlays."""
    router = APIRouter(route_class=CheckedRoute, tags=["admin"])
    reader, trainer = (Depends(guard.require(role, "model")) for role in (Role.READER, Role.TRAINER))

    @router.post(
        PATH,
        dependencies=[trainer],
        responses=documented(400, 401, 403, 404, 409, 413, 415, 422, 503),
        summary="Add values that appeared after training",
    )
    def post(model: ModelPath, request: ValuesRequest) -> ValuesAnswer:
        """The LLM service reads their texts, and the version knows them without being trained again.

        What it knows already is left as it is, so a call may be sent twice. An overlay belongs to one version: another
        champion begins without one.
        """
        _check_count(request)
        return _answer(model, adder.add(model, request.version, request.values, ADMIN))

    @router.get(
        PATH, dependencies=[reader], responses=documented(401, 403, 404), summary="The values added to a version"
    )
    def get(
        model: ModelPath,
        version: VersionQuery = CHAMPION,
        limit: Annotated[int, Query(ge=1, le=1_000, description="The most to list.")] = 100,
        after: Annotated[int, Query(ge=0, description="List those behind this number.")] = 0,
    ) -> OverlayView:
        """In the order in which they were added."""
        key = (model, registry.get(model, version).version)
        head = store.heads().get(key)
        values = [_view(one) for one in store.rows(key, after, limit)]
        digest, rows = (key[1], 0) if head is None else (head.digest, head.rows)
        return OverlayView(model=model, version=key[1], overlay=digest, rows=rows, values=values)

    @router.delete(
        PATH, dependencies=[trainer], responses=documented(401, 403, 404), summary="Drop the values added to a version"
    )
    def delete(model: ModelPath, version: VersionQuery = CHAMPION) -> Dropped:
        """The version scores as its bundle alone does within a few seconds."""
        return Dropped(dropped=store.drop((model, registry.get(model, version).version)))

    return router


def _check_count(request: ValuesRequest) -> None:
    count = sum(map(len, request.values.values()))
    if count > MOST_VALUES:
        raise TooLargeError(f"the call has {count:,} values; the limit is {MOST_VALUES:,}: send several calls")


def _answer(model: str, added: Addition) -> ValuesAnswer:
    fields = {
        name: FieldAddition(added=one.added, known=one.known, refused=one.refused) for name, one in added.fields.items()
    }
    return ValuesAnswer(
        model=model, version=added.version, overlay=added.head.digest, rows=added.head.rows, fields=fields
    )


def _view(one: Stored) -> OverlayValue:
    return OverlayValue(
        number=one.number, field=one.row.field, value=one.row.value, source=one.source, at=iso(one.at) or ""
    )
