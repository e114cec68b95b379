"""POST /v1/outcomes: what came of scored rows."""

from typing import Annotated, TypeAlias

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Discriminator, Tag
from pydantic import Field as Setting

from services.ctr import metrics
from services.ctr.quality.outcomes import ANY_MODEL, Outcome, OutcomeList, Outcomes
from services.shared.access.auth import Guard, Role, caller_of
from services.shared.http.problems import documented
from services.shared.http.route import CheckedRoute


def _form_of(body: object) -> str:
    is_list = isinstance(body, OutcomeList) or (isinstance(body, dict) and "outcomes" in body)
    return "several" if is_list else "one"


Body: TypeAlias = Annotated[
    Annotated[Outcome, Tag("one")] | Annotated[OutcomeList, Tag("several")], Discriminator(_form_of)
]


class OutcomesAccepted(BaseModel):
    """How many labels were kept."""

    model_config = ConfigDict(frozen=True, extra="forbid", json_schema_extra={"example": {"accepted": 2}})

    accepted: int = Setting(description="All that were given; whether their rows were logged shows in the quality.")


def outcome_router(outcomes: Outcomes, guard: Guard) -> APIRouter:
    """The route of the labels."""
    router = APIRouter(route_class=CheckedRoute, tags=["quality"])

    @router.post(
        "/v1/outcomes",
        status_code=202,
        dependencies=[Depends(guard.require(Role.TRAINER))],
        responses=documented(400, 401, 403, 413, 415, 422, 503),
        summary="Report what came of scored rows",
    )
    def post(request: Request, body: Body) -> OutcomesAccepted:
        """Labels 0 and 1, by (request_id, row) or the caller's row_id; a later label for the same row replaces it.

        They may come before the scores are written, and are kept as long as those. A key that is limited to models
        labels only rows of these.
        """
        given = body.outcomes if isinstance(body, OutcomeList) else (body,)
        for model in {outcome.model for outcome in given} - {None}:
            guard.allow(request, model or ANY_MODEL)
        scopes = caller_of(request).scopes
        outcomes.add(given, (ANY_MODEL,) if scopes is None else tuple(sorted(scopes)))
        metrics.OUTCOMES.inc(len(given))
        return OutcomesAccepted(accepted=len(given))

    return router
