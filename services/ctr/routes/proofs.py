"""Proofs: the call that starts one, and its reports."""

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Path, Request
from fastapi.responses import FileResponse

from llactr_core.errors import NotFoundError
from services.ctr.jobs.checks import check_prove
from services.ctr.payloads import ProveRequest
from services.ctr.routes.admin import IdempotencyKey, accepted, submitted
from services.ctr.settings import CtrSettings
from services.shared.access.auth import Guard, Role
from services.shared.http.problems import documented
from services.shared.http.route import CheckedRoute
from services.shared.jobs.calls import call_of
from services.shared.jobs.routes import EXAMPLE, Accepted
from services.shared.jobs.store import JobStore

JobPath = Annotated[str, Path(pattern="^[0-9a-f]{1,64}$", description="The job.", examples=[EXAMPLE["id"]])]
ReportName = Annotated[
    Literal["report.json", "report.md", "report.html"], Path(description="Which form.", examples=["report.html"])
]
MEDIA_TYPES = {
    "report.json": "application/json",
    "report.md": "text/markdown; charset=utf-8",
    "report.html": "text/html; charset=utf-8",
}
REPORT_TYPES: dict[str, dict[str, object]] = {kind.partition(";")[0]: {} for kind in MEDIA_TYPES.values()}
POLICY = "default-src 'none'; style-src 'unsafe-inline'"  # a page without scripts


def proof_router(jobs: JobStore, settings: CtrSettings, guard: Guard) -> APIRouter:
    """The routes of proofs."""
    router = APIRouter(route_class=CheckedRoute, tags=["admin"])
    trainer = Depends(guard.require(Role.TRAINER))

    @router.post(
        "/v1/admin/prove",
        status_code=202,
        dependencies=[trainer],
        responses=documented(400, 401, 403, 404, 409, 413, 415, 429),
        summary="Prove whether field semantics help on a dataset",
    )
    def prove(call: Request, request: ProveRequest, idempotency_key: IdempotencyKey = None) -> Accepted:
        """A job tunes, trains and judges every arm and control with equal budgets, as `llactr prove` does.

        The field table and the values come from the LLM service. It can be cancelled, and goes on after a kill.
        """
        guard.allow(call, request.model)
        asked = call_of(idempotency_key, request.model, "prove", request.model_dump(mode="json", by_alias=True))
        known = jobs.known(asked)
        if known is not None:
            return accepted(known)
        check_prove(request, settings)
        return submitted(jobs, "prove", request.model, request, asked, call)

    @router.get(
        "/v1/admin/jobs/{job_id}/reports/{name}",
        dependencies=[trainer],
        response_class=FileResponse,
        responses={200: {"content": REPORT_TYPES}, **documented(401, 403, 404)},
        summary="A report of a proof",
    )
    def report(call: Request, job_id: JobPath, name: ReportName) -> FileResponse:
        """What a job "prove" that has succeeded wrote: report.json, report.md or report.html."""
        guard.allow(call, jobs.peek(job_id).lane)
        file = settings.proofs / job_id / name
        if not file.is_file():
            raise NotFoundError(f"job {job_id} has no {name}; only a job 'prove' that has succeeded has reports")
        return FileResponse(file, media_type=MEDIA_TYPES[name], headers={"Content-Security-Policy": POLICY})

    return router
