"""The API process of the CTR service. Run as `python -m services.ctr.api`; it imports no torch."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import APIRouter, FastAPI
from pydantic import BaseModel, ConfigDict

from llactr_core.errors import UnavailableError
from services.ctr.registry.store import Registry
from services.ctr.routes.admin import admin_router
from services.ctr.routes.models import models_router
from services.ctr.routes.score import ModelName, score_router
from services.ctr.serving.pool import ModelPool
from services.ctr.settings import CtrSettings
from services.shared.access.audit import AuditLog, AuditTrail
from services.shared.access.audit_routes import audit_router
from services.shared.access.auth import Guard
from services.shared.access.key_routes import key_router
from services.shared.http.app import create_app
from services.shared.http.part import Part
from services.shared.http.serving import guarded, serve
from services.shared.jobs.job import Job, State
from services.shared.jobs.routes import job_router
from services.shared.jobs.store import JobStore
from services.shared.storage.storage import Storage, migrate
from services.shared.telemetry.metric_routes import metric_router

DESCRIPTION = "Click-through prediction on field semantics: trains, registers and promotes models, and scores rows."


class Ready(BaseModel):
    """The answer of /readyz when scoring works."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    status: str
    models: list[ModelName]


class ServedJobs(JobStore):
    """The jobs as this process shows them: whoever reads that a job has succeeded is scored by what it promoted."""

    def __init__(self, storage: Storage, max_queued: int, pool: ModelPool) -> None:
        super().__init__(storage, max_queued)
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


def build_app(settings: CtrSettings) -> FastAPI:
    """The app; its storage is migrated and its model pool is filled when it starts.

    Raises:
        OptionError: it would listen beyond loopback without any key.
    """
    storage = Storage(settings.storage_url)
    migrate(storage, "services.ctr")
    guard, audit = Guard(storage, settings), AuditLog(storage, settings.audit_days)
    guard.ensure_key()
    registry = Registry(storage, settings.bundles)
    pool = ModelPool(
        registry, default_model=settings.default_model, max_loaded=settings.max_loaded, poll_s=settings.poll_s
    )
    jobs = ServedJobs(storage, settings.max_queued, pool)
    parts: list[Part] = [pool]

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        for part in parts:
            part.start()
        try:
            yield
        finally:
            for part in reversed(parts):
                await asyncio.to_thread(part.close)
            storage.close()

    routers = [
        score_router(pool, settings, guard),
        models_router(registry, guard),
        admin_router(registry, pool, jobs, settings, guard),
        job_router(jobs, guard),
        key_router(guard),
        audit_router(audit, guard),
        metric_router(storage, guard),
        _ready_router(pool),
    ]
    app = create_app("LLaCTR CTR service", settings, routers, lifespan, DESCRIPTION)
    app.add_middleware(AuditTrail, log=audit)
    return app


def _ready_router(pool: ModelPool) -> APIRouter:
    router = APIRouter(tags=["health"])

    @router.get("/readyz", summary="Whether a champion is loaded and verified")
    def readyz() -> Ready:
        """200 as soon as a champion can score."""
        loaded = sorted(pool.champions().values(), key=lambda model: model.name)
        if not loaded:
            raise UnavailableError("no champion is loaded yet; train a model (`make run`), admin calls work already")
        return Ready(status="ready", models=[ModelName(name=m.name, version=m.version) for m in loaded])

    return router


def main() -> None:
    """Serve until a signal ends the process."""
    settings = CtrSettings()
    serve(lambda: build_app(settings), settings)


if __name__ == "__main__":
    guarded(main)
