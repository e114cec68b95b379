"""POST /v1/score: feature rows in, probabilities out."""

import asyncio
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, ConfigDict
from pydantic import Field as Setting

from services.ctr.formats.answers import Answer, accepted, encode
from services.ctr.formats.decoding import ARROW, JSON, NDJSON, decode
from services.ctr.serving.gate import SCORE, TIMEOUT_PARAMETER
from services.ctr.serving.pipeline import Answered, Asked, ScoringPipeline
from services.ctr.settings import CtrSettings
from services.shared.access.auth import Guard, Role
from services.shared.http.problems import documented

INLINE_ANSWERS = 2_000  # answers of more rows are written in a thread


class ModelName(BaseModel):
    """The model version that scored."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    version: str
    overlay: str | None = Setting(default=None, description="The digest of its rows of later values, where it has any.")


class RowReport(BaseModel):
    """What one row lacked, held that the model has never seen, held beyond the schema, and named in vain."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    missing: list[str] = Setting(description="Columns of the schema without a value.")
    unseen: list[str] = Setting(description="Columns with a value that training did not know.")
    extra: list[str] = Setting(description="Columns that the schema does not have; they are ignored.")
    absent: list[str] = Setting(description="Entities that the online store does not have, such as user_id=17.")


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

    scores: list[float] = Setting(description="Probabilities from 1e-6 to 1 - 1e-6, calibrated; with ?raw=true as is.")
    model: ModelName = Setting(description="The version that scored all rows.")
    request_id: str = Setting(description="Names the request when its outcomes are reported.")
    arm: str | None = Setting(default=None, description="The alias that an experiment chose; only then.")
    details: list[RowReport] | None = Setting(default=None, description="With ?details=true, one per row.")


class ScoreQuery(BaseModel):
    """The query of the call."""

    model_config = ConfigDict(frozen=True)

    model: str | None = Setting(
        default=None,
        max_length=500,
        description="NAME, NAME:VERSION or NAME@ALIAS; by default the default model's champion.",
        examples=["bank-marketing"],
    )
    details: bool = Setting(
        default=False, description="Report missing, unseen and extra fields and absent entities of each row."
    )
    raw: bool = Setting(default=False, description="Probabilities as the model gives them, without calibration.")
    routing_key: str | None = Setting(
        default=None,
        max_length=1000,
        description="Whose request this is: an experiment gives the same key the same arm. By default the body's, then "
        "the first row's value of the schema's group column or first field.",
    )
    row_id: str | None = Setting(
        default=None,
        max_length=200,
        description="The column that holds your own names of the rows, for outcomes; by default row_id, where the "
        "schema has no such column. Texts of up to 200 characters or whole numbers.",
    )


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
_ROUTING_KEY = {"type": "string", "description": "Whose request this is, for experiments; ?routing_key goes first."}
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
_NAMES = {
    name: {"description": text, "schema": {"type": "string"}}
    for name, text in {
        "X-Model": "The model that scored.",
        "X-Model-Version": "Its version.",
        "X-Request-Id": "Names the request.",
        "X-Arm": "The alias that an experiment chose; only then.",
    }.items()
}
_LINES = '{"score":0.0731}\n{"score":0.4128}\n'
ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Scores in the form that Accept asks for; JSON by default.",
        "headers": _NAMES,
        "content": {
            NDJSON: {
                "schema": {"type": "string", "description": "One object a line: score, and with details its report."},
                "example": _LINES,
            },
            ARROW: {
                "schema": {
                    "type": "string",
                    "format": "binary",
                    "description": "An Arrow IPC stream: column score (float64), with details lists of text missing, "
                    "unseen, extra, absent; the schema's metadata holds model, version, request_id and arm.",
                }
            },
        },
    }
}
OPENAPI: dict[str, Any] = {
    "parameters": [TIMEOUT_PARAMETER],
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
    },
}


def score_router(pipeline: ScoringPipeline, settings: CtrSettings, guard: Guard) -> APIRouter:
    """The endpoint's route."""
    router = APIRouter(tags=["scoring"])

    @router.post(
        SCORE,
        response_model=ScoreResponse,
        dependencies=[Depends(guard.require(Role.READER))],
        responses=ANSWERS | documented(400, 401, 403, 404, 406, 409, 413, 415, 422, 503, 504),
        openapi_extra=OPENAPI,
        summary="Score feature rows",
    )
    async def score(request: Request, query: Annotated[ScoreQuery, Query()]) -> Response:
        """Click probabilities of rows, columns, NDJSON lines or an Arrow stream."""
        media = accepted(request.headers.get("accept"))
        body = await request.body()
        content_type, limits = request.headers.get("content-type"), (settings.max_rows, settings.max_body_bytes)
        asked = Asked(
            model=query.model,
            decode=partial(decode, body, content_type, *limits),
            size=len(body),
            details=query.details,
            raw=query.raw,
            routing_key=query.routing_key,
            row_id=query.row_id,
        )
        answer = _answer_of(await pipeline.score(request, asked))
        small = len(answer.scores) <= INLINE_ANSWERS
        content = encode(answer, media) if small else await asyncio.to_thread(encode, answer, media)
        return Response(content, media_type=media, headers=answer.headers)

    return router


def _answer_of(answered: Answered) -> Answer:
    scored = answered.scored
    loaded = scored.loaded
    return Answer(
        loaded.name, loaded.version, scored.arm, scored.request_id, scored.scores, answered.details, loaded.overlay
    )
