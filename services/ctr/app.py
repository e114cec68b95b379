"""The app of the CTR service's API, put together from its parts."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import APIRouter, FastAPI
from pydantic import BaseModel, ConfigDict
from starlette.middleware import Middleware

from llactr_core.errors import UnavailableError
from services.ctr.formats.oip_errors import ProtocolErrors
from services.ctr.lookup.config import LookupFile
from services.ctr.lookup.lookup import Lookup
from services.ctr.payloads import CLEANED
from services.ctr.promotion.child import ChildJudge
from services.ctr.promotion.promotion import Promotion
from services.ctr.quality.live import LiveGauges
from services.ctr.quality.outcomes import Outcomes
from services.ctr.quality.quality import Quality
from services.ctr.registry.store import Registry
from services.ctr.routes.admin import admin_router
from services.ctr.routes.aliases import alias_router
from services.ctr.routes.explain import explain_router
from services.ctr.routes.models import models_router
from services.ctr.routes.oip import oip_router
from services.ctr.routes.outcomes import outcome_router
from services.ctr.routes.proofs import proof_router
from services.ctr.routes.quality import quality_router
from services.ctr.routes.schedules import schedule_router
from services.ctr.routes.score import ModelName, score_router
from services.ctr.routes.traffic import traffic_router
from services.ctr.routes.values import values_router
from services.ctr.routes.versions import version_router
from services.ctr.schedule.store import ScheduleStore
from services.ctr.serving.admission import Admission
from services.ctr.serving.gate import AdmissionGate
from services.ctr.serving.pipeline import ScoringPipeline
from services.ctr.serving.pool import ModelPool
from services.ctr.serving.short import ShortScoring
from services.ctr.settings import CtrSettings
from services.ctr.traffic.comparison import Comparisons
from services.ctr.traffic.traffic import Traffic
from services.ctr.values.adding import Adder
from services.ctr.values.newcomers import Newcomers
from services.ctr.values.renewal import Renewal
from services.ctr.values.store import OverlayStore
from services.shared.access.audit import AuditLog, AuditTrail
from services.shared.access.audit_routes import audit_router
from services.shared.access.auth import Guard
from services.shared.access.key_routes import key_router
from services.shared.http.app import ServiceApp, create_app
from services.shared.http.part import Part
from services.shared.http.serving import serve
from services.shared.jobs.job import Job, State
from services.shared.jobs.routes import job_router
from services.shared.jobs.store import JobStore
from services.shared.settings import MEBIBYTE
from services.shared.storage.storage import Storage, migrate
from services.shared.telemetry.metric_routes import metric_router

DESCRIPTION = "Click-through prediction on field semantics: trains, registers and promotes models, and scores rows."


class Ready(BaseModel):
    """The answer of /readyz when scoring works; only a service that this machine alone can reach names its models."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    status: str
    models: list[ModelName] | None = None


class ServedJobs(JobStore):
    """The jobs as this process shows them: whoever reads that a job has succeeded is scored by what it promoted."""

    def __init__(self, storage: Storage, max_queued: int, pool: ModelPool) -> None:
        super().__init__(storage, max_queued, cleaned=CLEANED)
        self._pool = pool

    def peek(self, job_id: str) -> Job:
        """The job as it is now, without its payload.

        Raises:
            NotFoundError: there is no such job.
        """
        job = super().peek(job_id)
        if job.state is State.SUCCEEDED:
            self._pool.refresh()
        return job


def build_app(settings: CtrSettings) -> ServiceApp:
    """The app; its storage is migrated and its model pool is filled when it starts.

    Raises:
        OptionError: it would listen beyond loopback without any key.
    """
    storage = Storage(settings.storage_url)
    storage.await_answer(settings.storage_wait_s)
    migrate(storage, "services.ctr")
    guard, audit = Guard(storage, settings), AuditLog(storage, settings.audit_days)
    guard.ensure_key()
    registry = Registry(storage, settings.bundles)
    overlays = OverlayStore(storage)
    pool = ModelPool(
        registry,
        default_model=settings.default_model,
        budget=settings.memory_mb * MEBIBYTE,
        poll_s=settings.poll_s,
        overlays=Renewal(overlays, settings.overlay_poll_s),
    )
    adder = Adder(overlays, registry, pool, settings)
    newcomers = [Newcomers(adder, settings)] if settings.newcomers else []
    promotion = Promotion(registry, settings, ChildJudge(settings.gate_timeout_s), pool.load)
    jobs = ServedJobs(storage, settings.max_queued, pool)
    admission = Admission(settings)
    lookup = Lookup(LookupFile.read(settings.lookups)) if settings.lookups else None
    traffic = Traffic(storage, registry, pool, settings)
    pipeline = ScoringPipeline(pool, settings, guard, routing=traffic, filling=lookup, watching=(traffic, *newcomers))
    parts: list[Part] = [
        pool,
        traffic,
        LiveGauges(storage, settings),
        admission,
        pipeline,
        *newcomers,
        *([lookup] if lookup else []),
    ]

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        for part in parts:
            part.start()
        try:
            yield
        finally:
            for part in reversed(parts):
                await asyncio.to_thread(part.close)
            guard.close()
            storage.close()

    routers = [
        score_router(pipeline, settings, guard),
        explain_router(pipeline, settings, guard),
        oip_router(pipeline, pool, registry, settings, guard),
        models_router(registry, guard),
        alias_router(registry, promotion, pool, guard),
        version_router(registry, settings, guard),
        admin_router(registry, pool, jobs, settings, guard),
        proof_router(jobs, settings, guard),
        values_router(adder, overlays, registry, guard),
        traffic_router(traffic, Comparisons(storage), registry, guard),
        outcome_router(Outcomes(storage), guard),
        quality_router(Quality(storage, registry.bundle_path, settings.quality_rows), registry, guard),
        schedule_router(ScheduleStore(storage), registry, settings, guard),
        job_router(jobs, guard, settings.max_event_streams),
        key_router(guard),
        audit_router(audit, guard),
        metric_router(storage, guard),
        _ready_router(pool, names=settings.is_loopback),
    ]
    app = create_app("LLaCTR CTR service", settings, routers, lifespan, DESCRIPTION)
    # Within those that count and log:
    app.user_middleware.append(Middleware(AdmissionGate, admission=admission))
    app.short_way = ShortScoring(pipeline, admission, settings, guard)
    app.add_middleware(AuditTrail, log=audit)
    app.add_middleware(ProtocolErrors)
    return app


def _ready_router(pool: ModelPool, *, names: bool) -> APIRouter:
    router = APIRouter(tags=["health"])

    @router.get(
        "/readyz",
        summary="Whether a champion is loaded and verified",
        response_model_exclude_none=True,
    )
    async def readyz() -> Ready:
        """200 as soon as a champion can score."""
        serving = sorted(pool.champions().items())
        if not serving:
            raise UnavailableError(
                "no champion is loaded; train a model (`make run`), or look in the log why a champion was refused; "
                "admin calls work already"
            )
        models = [ModelName(name=name, version=version) for name, version in serving]
        return Ready(status="ready", models=models if names else None)

    return router


def main() -> None:
    """Serve until a signal ends the process."""
    settings = CtrSettings()
    serve(lambda: build_app(settings), settings)
