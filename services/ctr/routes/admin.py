"""The calls that change something: train, refresh, and moving an alias."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Header, Path, Request
from pydantic import BaseModel, ConfigDict
from pydantic import Field as Setting

from llactr_core.errors import BundleError, ConflictError
from llactr_core.semantics.options import SsftOptions
from llactr_core.training.options import TrainOptions
from services.ctr.payloads import RefreshRequest, TrainRequest
from services.ctr.registry.store import CHAMPION, NAME_PATTERN, Registry, require_semantics
from services.ctr.serving.pool import ModelPool
from services.ctr.settings import CtrSettings
from services.shared.access.auth import Guard, Role
from services.shared.datasets import resolve_dataset
from services.shared.http.problems import documented
from services.shared.http.route import CheckedRoute
from services.shared.jobs.calls import Call, call_of
from services.shared.jobs.job import Job
from services.shared.jobs.routes import Accepted, JobRef
from services.shared.jobs.store import JobStore
from services.shared.telemetry.traces import traceparent

ModelPath = Annotated[str, Path(pattern=NAME_PATTERN, description="The model's name.", examples=["bank-marketing"])]
AliasPath = Annotated[str, Path(pattern=NAME_PATTERN, description="`champion` scores; others are yours.")]
IdempotencyKey = Annotated[
    str | None,
    Header(description="The same key with the same body gives the same job: a retry starts no other."),
]


class AliasRequest(BaseModel):
    """Where the alias shall point."""

    model_config = ConfigDict(frozen=True, extra="forbid", json_schema_extra={"example": {"version": "5f0c1a9be2d4"}})

    version: str = Setting(min_length=1, max_length=128, description="A version, or an alias such as `previous`.")
    force: bool = Setting(default=False, description="Overrule the gate. A damaged bundle is refused even so.")


class AliasResponse(BaseModel):
    """Where the alias points now, and where it pointed before."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        json_schema_extra={
            "example": {
                "model": "bank-marketing",
                "alias": "champion",
                "version": "5f0c1a9be2d4",
                "previous": "90b2fd1c77aa",
                "gate": None,
            }
        },
    )

    model: str
    alias: str
    version: str
    previous: str | None
    gate: dict[str, Any] | None = Setting(default=None, description="The numbers that the gate looked at, if it did.")


def admin_router(registry: Registry, pool: ModelPool, jobs: JobStore, settings: CtrSettings, guard: Guard) -> APIRouter:
    """The changing side of the service."""
    router = APIRouter(route_class=CheckedRoute, tags=["admin"])
    trainer, admin = Depends(guard.require(Role.TRAINER)), Depends(guard.require(Role.ADMIN))

    @router.post(
        "/v1/admin/models/{model}/train",
        status_code=202,
        dependencies=[Depends(guard.require(Role.TRAINER, "model"))],
        responses=documented(400, 401, 403, 404, 409, 413, 415, 429),
        summary="Train a version of a model",
    )
    def train(model: ModelPath, request: TrainRequest, idempotency_key: IdempotencyKey = None) -> Accepted:
        """A job trains the version and registers it; it becomes the champion if the model has none."""
        asked = call_of(idempotency_key, model, "train", request.model_dump(mode="json", by_alias=True))
        known = jobs.known(asked)
        if known is not None:
            return _accepted(known)
        request.schema_given()
        TrainOptions.parse({**request.options, "backbone": request.backbone, "enhancer": request.enhancer})
        resolve_dataset(request.dataset, settings.data_roots)
        return _submitted(jobs, "train", model, request, asked)

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
        """A job tunes a new field table, trains the champion's recipe on it, and promotes the result."""
        request = request or RefreshRequest()
        pool.refresh()
        model = pool.champion(request.model).name
        guard.allow(call, model)
        asked = call_of(idempotency_key, model, "refresh", request.model_dump(mode="json", by_alias=True))
        known = jobs.known(asked)
        if known is not None:
            return _accepted(known)
        SsftOptions.parse(request.ssft)
        if request.dataset is not None:
            resolve_dataset(request.dataset, settings.data_roots)
        champion = registry.get(model, CHAMPION)
        require_semantics(model, champion)
        TrainOptions.parse({**champion.lineage.options, **request.options})
        return _submitted(jobs, "refresh", model, request, asked)

    @router.put(
        "/v1/admin/models/{model}/aliases/{alias}",
        dependencies=[admin],
        responses=documented(400, 401, 403, 404, 409, 413, 415),
        summary="Point an alias at a version",
    )
    def set_alias(model: ModelPath, alias: AliasPath, request: AliasRequest) -> AliasResponse:
        """Moves the alias atomically once the version's bundle is verified. A roll back is the same call."""
        version = registry.get(model, request.version).version
        try:
            pool.load(model, version)
        except BundleError as error:
            raise ConflictError(
                f"version {version} of {model!r} is not fit to serve: {error.detail}; alias {alias!r} was not moved"
            ) from error
        previous = registry.set_alias(model, alias, version)
        pool.refresh()
        return AliasResponse(model=model, alias=alias, version=version, previous=previous)

    return router


def _submitted(
    jobs: JobStore, kind: str, model: str, request: TrainRequest | RefreshRequest, call: Call | None
) -> Accepted:
    payload = {"model": model, "request": request.model_dump(mode="json", by_alias=True)}
    return _accepted(jobs.submit(kind, payload, call, lane=model, traceparent=traceparent()))


def _accepted(job: Job) -> Accepted:
    return Accepted(job=JobRef(id=job.id, state=job.state.value))
