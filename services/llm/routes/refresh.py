"""/v1/admin/fields/{schema}/refresh: a new field table, as a job."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from services.llm.jobs.refresh import result_of
from services.llm.jobs.request import KIND, RefreshRequest, payload_of
from services.llm.routes.schemas import SchemaPath
from services.llm.schema_store import SchemaStore
from services.llm.settings import LlmSettings
from services.llm.tables.store import CURRENT, TableStore
from services.shared.access.auth import Guard, Role
from services.shared.http.problems import documented
from services.shared.http.route import CheckedRoute
from services.shared.jobs.calls import call_of
from services.shared.jobs.job import Job
from services.shared.jobs.routes import Accepted, JobRef
from services.shared.jobs.store import JobStore
from services.shared.telemetry.traces import traceparent

IdempotencyKey = Annotated[
    str | None,
    Header(alias="Idempotency-Key", description="Repeating a call with the same key starts nothing a second time."),
]


class Refreshed(BaseModel):
    """The answer 200: a table of this recipe is there already, and `current` points at it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"schema": "movies", "version": "9f2c" * 16, "reused": True, "metrics": {"held_out_accuracy": 0.65}}
            ]
        }
    )

    schema_name: str = Field(serialization_alias="schema")
    version: str
    reused: bool
    metrics: dict[str, Any]


def refresh_router(
    schemas: SchemaStore, tables: TableStore, jobs: JobStore, settings: LlmSettings, guard: Guard
) -> APIRouter:
    """The route."""
    router = APIRouter(route_class=CheckedRoute, prefix="/v1/admin/fields", tags=["fields"])

    @router.post(
        "/{schema}/refresh",
        summary="Tune and embed the fields",
        description=(
            "202: a job does it; an equal one that runs already is answered instead of a second one. "
            "200: this recipe (schema, samples, model, options) has made a table before; `current` points at it."
        ),
        status_code=202,
        dependencies=[Depends(guard.require(Role.TRAINER, "schema"))],
        response_model=Accepted,
        responses={
            200: {"model": Refreshed, "description": "The table exists."},
            **documented(400, 401, 403, 404, 409, 413, 415, 422, 429),
        },
    )
    def refresh(name: SchemaPath, body: RefreshRequest, idempotency_key: IdempotencyKey = None) -> JSONResponse:
        call = call_of(idempotency_key, name, KIND, body.model_dump(exclude_unset=True))
        known_job, known_answer = jobs.known(call), jobs.answer(call)
        if known_job is not None:
            return _accepted(known_job)
        if known_answer is not None:
            return JSONResponse(known_answer)
        payload = payload_of(body, schemas.get(name).schema, settings)
        recipe = payload.recipe()
        table = tables.by_recipe(name, recipe) if recipe else None
        if table is not None:
            tables.move(name, CURRENT, table.version)
            answer = result_of(table, reused=True)
            jobs.keep_answer(call, answer)
            return JSONResponse(answer)
        job = jobs.submit(KIND, payload.dump(), call, active_key=payload.key, lane=name, traceparent=traceparent())
        return _accepted(job)

    return router


def _accepted(job: Job) -> JSONResponse:
    content = Accepted(job=JobRef(id=job.id, state=job.state.value))
    return JSONResponse(content.model_dump(), status_code=202, headers={"Location": f"/v1/jobs/{job.id}"})
