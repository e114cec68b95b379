"""The calls that start jobs: train and refresh."""

from typing import Annotated

from fastapi import APIRouter, Body, Depends, Header, Path, Request

from services.ctr.jobs.checks import check_refresh, check_train
from services.ctr.payloads import ProveRequest, RefreshRequest, TrainRequest
from services.ctr.registry.store import NAME_PATTERN, Registry
from services.ctr.serving.pool import ModelPool
from services.ctr.settings import CtrSettings
from services.shared.access.auth import Guard, Role, caller_of
from services.shared.http.problems import documented
from services.shared.http.route import CheckedRoute
from services.shared.jobs.calls import Call, call_of
from services.shared.jobs.job import Job
from services.shared.jobs.routes import Accepted, JobRef
from services.shared.jobs.store import JobStore
from services.shared.telemetry.traces import traceparent

ModelPath = Annotated[str, Path(pattern=NAME_PATTERN, description="The model's name.", examples=["bank-marketing"])]
IdempotencyKey = Annotated[
    str | None,
    Header(description="The same key with the same body gives the same job: a retry starts no other."),
]


def admin_router(registry: Registry, pool: ModelPool, jobs: JobStore, settings: CtrSettings, guard: Guard) -> APIRouter:
    """The changing side of the service."""
    router = APIRouter(route_class=CheckedRoute, tags=["admin"])
    trainer = Depends(guard.require(Role.TRAINER))

    @router.post(
        "/v1/admin/models/{model}/train",
        status_code=202,
        dependencies=[Depends(guard.require(Role.TRAINER, "model"))],
        responses=documented(400, 401, 403, 404, 409, 413, 415, 429),
        summary="Train a version of a model",
    )
    def train(
        call: Request, model: ModelPath, request: TrainRequest, idempotency_key: IdempotencyKey = None
    ) -> Accepted:
        """A job trains the version, registers it, and makes it champion if the model has none.

        With `promote` the gate decides about it; what it refuses, and what was not to be promoted, gets the alias
        `challenger`. `force` needs a key with the role admin.
        """
        if request.force:
            guard.admit(caller_of(call), Role.ADMIN)
        asked = call_of(idempotency_key, model, "train", request.model_dump(mode="json", by_alias=True))
        known = jobs.known(asked)
        if known is not None:
            return accepted(known)
        request = check_train(request, model, registry, settings)
        return submitted(jobs, "train", model, request, asked, call)

    @router.post(
        "/v1/admin/refresh",
        status_code=202,
        dependencies=[trainer],
        responses=documented(400, 401, 403, 404, 409, 413, 415, 429),
        summary="Refresh a model's field semantics",
    )
    def refresh(
        call: Request, request: Annotated[RefreshRequest | None, Body()] = None, idempotency_key: IdempotencyKey = None
    ) -> Accepted:
        """A job takes a new field table, trains the champion's recipe on it, and promotes it if the gate lets it pass.

        `force` needs a key with the role admin.
        """
        request = request or RefreshRequest()
        if request.force:
            guard.admit(caller_of(call), Role.ADMIN)
        pool.refresh()
        model = request.model or pool.default_champion(caller_of(call).sees)
        guard.allow(call, model)
        asked = call_of(idempotency_key, model, "refresh", request.model_dump(mode="json", by_alias=True))
        known = jobs.known(asked)
        if known is not None:
            return accepted(known)
        check_refresh(request, model, registry, settings)
        return submitted(jobs, "refresh", model, request, asked, call)

    return router


def submitted(
    jobs: JobStore,
    kind: str,
    model: str,
    request: TrainRequest | RefreshRequest | ProveRequest,
    asked: Call | None,
    call: Request,
) -> Accepted:
    """Queue a job of this kind; the answer to who asked for it."""
    by = caller_of(call).key_name
    payload = {"model": model, "request": request.model_dump(mode="json", by_alias=True), "by": by}
    return accepted(jobs.submit(kind, payload, asked, lane=model, traceparent=traceparent()))


def accepted(job: Job) -> Accepted:
    """The answer that names a job."""
    return Accepted(job=JobRef(id=job.id, state=job.state.value))
