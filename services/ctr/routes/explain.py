"""POST /v1/explain: feature rows in, what every field and every pair adds to their logits out."""

import asyncio
from functools import partial
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, ConfigDict
from pydantic import Field as Setting

from services.ctr.formats.decoding import JSON, decode
from services.ctr.formats.explanations import DEEP, encode_explanation, method_of
from services.ctr.routes.score import OPENAPI, ModelName
from services.ctr.serving.pipeline import Asked, ScoringPipeline
from services.ctr.settings import CtrSettings
from services.shared.access.auth import Guard, Role
from services.shared.http.problems import documented
from services.shared.http.route import CheckedRoute


class FieldPart(BaseModel):
    """What one field adds by itself."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    field: str
    value: Literal["known", "unseen", "missing"] = Setting(description="What training knew of the row's value.")
    contribution: float = Setting(description="first_order + deep: what counts towards the logit.")
    first_order: float = Setting(description="The weight of the value; exact.")
    deep: float = Setting(description="The field's Shapley value of the deep part; an approximation.")
    deep_error: float | None = Setting(description="Its standard error; null where too few orders were sampled.")
    share: float = Setting(
        description="For ranking: contribution plus half of each pair of the field. bias, deep_baseline and all shares "
        "sum to the logit too."
    )


class PairPart(BaseModel):
    """What two fields add together; exact."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    fields: tuple[str, str]
    contribution: float = Setting(description="fm + fie: what counts towards the logit.")
    fm: float = Setting(description="The backbone's term of the pair.")
    fie: float = Setting(description="The term that field semantics add (FIE).")


class ExplainedRow(BaseModel):
    """One row: bias + deep_baseline + the contributions of all fields + those of all pairs = logit."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    logit: float = Setting(description="The model's, before calibration.")
    probability: float = Setting(description="Calibrated, as POST /v1/score answers.")
    raw_probability: float = Setting(description="sigmoid(logit).")
    bias: float = Setting(description="The model's constant, and what single precision rounded off (about 1e-6).")
    deep_baseline: float = Setting(description="The deep part of a row whose fields are all unseen.")
    fields: list[FieldPart]
    pairs: list[PairPart]


class Method(BaseModel):
    """How the parts were found."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    exact: list[str]
    approximate: dict[str, str] = Setting(description="Parts that are approximated, and how.")
    permutations: int = Setting(description="Orders of the fields that the deep part was averaged over.")


class ExplainResponse(BaseModel):
    """Explanations in the order of the rows."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        json_schema_extra={
            "example": {
                "model": {"name": "bank-marketing", "version": "5f0c1a9be2d4"},
                "request_id": "0c9d6a5e4f",
                "method": {
                    "exact": ["bias", "first_order", "fm", "fie"],
                    "approximate": {"deep": DEEP},
                    "permutations": 64,
                },
                "rows": [
                    {
                        "logit": -2.54,
                        "probability": 0.0731,
                        "raw_probability": 0.0731,
                        "bias": -1.9,
                        "deep_baseline": -0.3,
                        "fields": [
                            {
                                "field": name,
                                "value": "known",
                                "contribution": -0.16,
                                "first_order": -0.11,
                                "deep": -0.05,
                                "deep_error": 0.002,
                                "share": -0.17,
                            }
                            for name in ("age", "job")
                        ],
                        "pairs": [{"fields": ["age", "job"], "contribution": -0.02, "fm": -0.015, "fie": -0.005}],
                    }
                ],
            }
        },
    )

    model: ModelName = Setting(description="The version that was explained.")
    request_id: str
    arm: str | None = Setting(default=None, description="The alias that an experiment chose; only then.")
    method: Method
    rows: list[ExplainedRow]


class ExplainQuery(BaseModel):
    """The query of the call."""

    model_config = ConfigDict(frozen=True)

    model: str | None = Setting(
        default=None,
        max_length=500,
        description="NAME, NAME:VERSION or NAME@ALIAS; by default the default model's champion.",
        examples=["bank-marketing"],
    )
    routing_key: str | None = Setting(
        default=None, max_length=1000, description="Whose request this is: it explains the arm that would score it."
    )


def explain_router(pipeline: ScoringPipeline, settings: CtrSettings, guard: Guard) -> APIRouter:
    """The explaining endpoint."""
    router = APIRouter(tags=["scoring"], route_class=CheckedRoute)
    limits = (settings.explain_rows, settings.max_body_bytes)

    @router.post(
        "/v1/explain",
        response_model=ExplainResponse,
        dependencies=[Depends(guard.require(Role.READER))],
        responses=documented(400, 401, 403, 404, 409, 413, 415, 422, 503, 504),
        openapi_extra=OPENAPI,
        summary="Explain the scores of feature rows",
    )
    async def explain(request: Request, query: Annotated[ExplainQuery, Query()]) -> Response:
        """What every field and every pair of fields adds to the logit of each row. The bodies of POST /v1/score."""
        body = await request.body()
        media = request.headers.get("content-type")
        asked = Asked(query.model, partial(decode, body, media, *limits), len(body), routing_key=query.routing_key)
        explained = await pipeline.explain(request, asked)
        loaded = explained.loaded
        about: dict[str, Any] = {
            "model": {"name": loaded.name, "version": loaded.version},
            "request_id": request.state.request_id,
            **({} if explained.arm is None else {"arm": explained.arm}),
            "method": method_of(explained.explainer),
        }
        names = loaded.scorer.schema.names
        return Response(
            await asyncio.to_thread(encode_explanation, about, explained.explanation, names), media_type=JSON
        )

    return router
