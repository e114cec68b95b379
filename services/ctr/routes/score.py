"""POST /v1/score: feature rows in, probabilities out."""

import asyncio
from typing import Annotated, Any

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, ConfigDict
from pydantic import Field as Setting

from llactr_core.errors import RowError
from services.ctr.formats.decoding import ARROW, JSON, NDJSON, Batch, decode
from services.ctr.serving.pool import Loaded, ModelPool
from services.ctr.settings import CtrSettings
from services.shared.access.auth import Guard, Role
from services.shared.http.problems import documented

INLINE_BYTES = 32 * 1024  # larger bodies are parsed in a thread, so that the event loop stays free
_ENCODER = msgspec.json.Encoder()


class ModelName(BaseModel):
    """The model version that scored."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    version: str


class RowDetail(BaseModel):
    """What one row lacked, held that the model has never seen, and held beyond the schema."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    missing: list[str]
    unseen: list[str]
    extra: list[str]


class ScoreResponse(BaseModel):
    """Click probabilities in the order of the rows."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        json_schema_extra={
            "example": {
                "scores": [0.0731, 0.4128],
                "model": {"name": "bank-marketing", "version": "5f0c1a9be2d4"},
                "request_id": "0c9d6a5e4f",
            }
        },
    )

    scores: list[float] = Setting(description="Probabilities, 0..1.")
    model: ModelName
    request_id: str
    details: list[RowDetail] | None = Setting(default=None, description="With ?details=true, one per row.")


_VALUE = {
    "description": "Missing (null or left out) and unknown values are scored; extra fields are ignored.",
    "anyOf": [
        {"type": "string"},
        {"type": "number"},
        {"type": "boolean"},
        {"type": "null"},
        {
            "type": "array",
            "description": "For multi-valued fields.",
            "items": {"anyOf": [{"type": "string"}, {"type": "number"}, {"type": "boolean"}, {"type": "null"}]},
        },
    ],
}
_ROUTING_KEY = {"type": "string", "description": "Says which row belongs to whom, for experiments."}
_ROWS_SCHEMA = {
    "type": "object",
    "required": ["rows"],
    "additionalProperties": False,
    "properties": {
        "rows": {"type": "array", "items": {"type": "object", "additionalProperties": _VALUE}},
        "routing_key": _ROUTING_KEY,
    },
}
_COLUMNS_SCHEMA = {
    "type": "object",
    "required": ["columns"],
    "additionalProperties": False,
    "properties": {
        "columns": {"type": "object", "additionalProperties": {"type": "array", "items": _VALUE}},
        "routing_key": _ROUTING_KEY,
    },
}
_ROW = {"age": 41, "job": "technician", "marital": "married", "housing": "yes"}
OPENAPI: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            JSON: {
                "schema": {"oneOf": [_ROWS_SCHEMA, _COLUMNS_SCHEMA]},
                "examples": {
                    "rows": {"summary": "Rows", "value": {"rows": [_ROW, {"age": None, "job": "not seen before"}]}},
                    "columns": {"summary": "Columns", "value": {"columns": {k: [v] for k, v in _ROW.items()}}},
                },
            },
            NDJSON: {
                "schema": {"type": "string", "description": "One row, a JSON object, a line."},
                "example": '{"age": 41, "job": "technician"}\n{"age": 29, "job": "student"}\n',
            },
            ARROW: {"schema": {"type": "string", "format": "binary", "description": "An Arrow IPC stream."}},
        },
    }
}


def score_router(pool: ModelPool, settings: CtrSettings, guard: Guard) -> APIRouter:
    """The scoring endpoint on the models of `pool`."""
    router = APIRouter(tags=["scoring"])

    @router.post(
        "/v1/score",
        response_model=ScoreResponse,
        dependencies=[Depends(guard.require(Role.READER))],
        responses=documented(400, 401, 403, 404, 409, 413, 415, 422),
        openapi_extra=OPENAPI,
        summary="Score feature rows",
    )
    async def score(
        request: Request,
        model: Annotated[
            str | None, Query(description="NAME, NAME:VERSION or NAME@ALIAS; by default the default model's champion.")
        ] = None,
        details: Annotated[bool, Query(description="Report missing, unseen and extra fields of each row.")] = False,
    ) -> Response:
        """Click probabilities of rows, columns, NDJSON lines or an Arrow stream."""
        body = await request.body()
        loaded = await _loaded(pool, model)
        guard.allow(request, loaded.name)
        read = (body, request.headers.get("content-type"), settings.max_rows)
        batch = decode(*read) if len(body) <= INLINE_BYTES else await asyncio.to_thread(decode, *read)
        if batch.rows <= settings.inline_rows:
            answer = _answer(loaded, batch, details)
        else:
            answer = await asyncio.to_thread(_answer, loaded, batch, details)
        answer["request_id"] = request.state.request_id
        return Response(_ENCODER.encode(answer), media_type=JSON)

    return router


async def _loaded(pool: ModelPool, reference: str | None) -> Loaded:
    if reference is None or not (":" in reference or "@" in reference):
        return pool.champion(reference)
    return await asyncio.to_thread(pool.resolve, reference)


def _answer(loaded: Loaded, batch: Batch, details: bool) -> dict[str, Any]:
    model = {"name": loaded.name, "version": loaded.version}
    if batch.rows == 0:
        return {"scores": [], "model": model} | ({"details": []} if details else {})
    try:
        return {**_scored(loaded, batch, details), "model": model}
    except pa.ArrowException as error:
        raise RowError(f"a column of the request cannot be read: {error}; send text or numbers") from error


def _scored(loaded: Loaded, batch: Batch, details: bool) -> dict[str, Any]:
    if not details:
        return {"scores": _numbers(loaded.scorer.score(batch.features))}
    scores, reports = loaded.scorer.score_detailed(batch.features)
    listed = [{"missing": r.missing, "unseen": r.unseen, "extra": r.extra} for r in reports]
    return {"scores": _numbers(scores), "details": listed}


def _numbers(scores: npt.NDArray[np.float64]) -> list[float]:
    numbers: list[float] = scores.tolist()
    return numbers
