"""The app of the LLM service's API, put together from its parts. It loads torch only when texts are to be embedded."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import APIRouter, FastAPI

from services.llm.engines.choose import choose_engine
from services.llm.engines.engine import Engine
from services.llm.models import stay_offline
from services.llm.routes.aliases import alias_router
from services.llm.routes.comparison import comparison_router
from services.llm.routes.embeddings import embedding_router
from services.llm.routes.fields import field_router
from services.llm.routes.refresh import refresh_router
from services.llm.routes.retention import retention_router
from services.llm.routes.schemas import schema_router
from services.llm.schema_store import SchemaStore
from services.llm.settings import LlmSettings
from services.llm.tables.answers import Answers
from services.llm.tables.pointers import Pointers
from services.llm.tables.retention import Retention
from services.llm.tables.store import TableStore
from services.llm.vectors.source import Sources
from services.llm.vectors.vectors import open_vectors
from services.shared.access.audit import AuditLog, AuditTrail
from services.shared.access.audit_routes import audit_router
from services.shared.access.auth import Guard
from services.shared.access.key_routes import key_router
from services.shared.http.app import Health, create_app
from services.shared.http.patience import Patience
from services.shared.http.serving import serve
from services.shared.jobs.routes import job_router
from services.shared.jobs.store import JobStore
from services.shared.storage.cache import Cache
from services.shared.storage.storage import Storage, migrate
from services.shared.telemetry.metric_routes import metric_router

DESCRIPTION = "Field semantics as a service: tune a language model to a schema's fields, and publish their vectors."

READY_S = 1.5


def build_app(settings: LlmSettings) -> FastAPI:
    """The app on its storage, which is brought to the newest revision first.

    Raises:
        OptionError: the service would listen beyond loopback without any key.
    """
    storage = Storage(settings.storage_url)
    storage.await_answer(settings.storage_wait_s)
    migrate(storage, "services.llm")
    guard, audit = Guard(storage, settings), AuditLog(storage, settings.audit_days)
    guard.ensure_key()
    cache = Cache(settings.redis_url.get_secret_value() if settings.redis_url else None)
    pointers = Pointers(storage, cache, settings.pointer_poll_s)
    tables = TableStore(storage, settings, cache)
    tables.watch(pointers.follow)
    schemas, jobs = SchemaStore(storage), JobStore(storage, settings.max_queued)
    answers = Answers(schemas, pointers, tables.contents, settings.cached_tables)
    engine = choose_engine(settings, worker=False)
    vectors = open_vectors(engine, storage, cache, settings)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        pointers.start()
        yield
        pointers.close()
        vectors.close()
        engine.close()
        cache.close()
        guard.close()
        storage.close()

    routers = [
        schema_router(schemas, tables, jobs, guard),
        refresh_router(schemas, tables, jobs, settings, guard),
        field_router(schemas, tables, answers, guard),
        comparison_router(answers, tables.contents, guard),
        alias_router(schemas, tables, guard),
        retention_router(schemas, Retention(tables, settings), guard),
        embedding_router(Sources(tables, pointers), vectors, settings, guard),
        job_router(jobs, guard, settings.max_event_streams, pointers.follow),  # who hears of a refresh finds its table
        key_router(guard),
        audit_router(audit, guard),
        metric_router(storage, guard),
        _ready_router(storage, engine),
    ]
    app = create_app("LLaCTR: LLM service", settings, routers, lifespan, DESCRIPTION)
    app.add_middleware(AuditTrail, log=audit)
    return app


def _ready_router(storage: Storage, engine: Engine) -> APIRouter:
    router = APIRouter(tags=["health"])
    patience = Patience(READY_S, 2)

    def check() -> None:
        storage.ping()
        engine.check()

    @router.get(
        "/readyz",
        summary="Whether storage answers and the engine can embed",
        response_model_exclude_none=True,
    )
    async def readyz() -> Health:
        await patience.wait(check)
        return Health(status="ready")

    return router


def main() -> None:
    """Serve with the settings of the environment."""
    settings = LlmSettings()
    stay_offline()
    serve(lambda: build_app(settings), settings)
