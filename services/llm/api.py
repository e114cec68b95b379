"""The LLM service's API process. It loads torch only when texts are to be embedded."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import APIRouter, FastAPI

from llactr_core.errors import LlactrError, UnavailableError
from llactr_core.semantics.weights import model_digest, resolve_model
from services.llm.embedder import Embedder
from services.llm.models import stay_offline
from services.llm.routes.aliases import alias_router
from services.llm.routes.embeddings import embedding_router
from services.llm.routes.fields import field_router
from services.llm.routes.refresh import refresh_router
from services.llm.routes.schemas import schema_router
from services.llm.schema_store import SchemaStore
from services.llm.settings import LlmSettings
from services.llm.store import TableStore
from services.shared.app import Health, create_app
from services.shared.auth import Guard
from services.shared.job_routes import job_router
from services.shared.jobs import JobStore
from services.shared.key_routes import key_router
from services.shared.problems import documented
from services.shared.serving import guarded, serve
from services.shared.storage import Storage, migrate

DESCRIPTION = "Field semantics as a service: tune a language model to a schema's fields, and publish their vectors."


def build_app(settings: LlmSettings) -> FastAPI:
    """The app on its storage, which is brought to the newest revision first.

    Raises:
        OptionError: the service would listen beyond loopback without any key.
    """
    storage = Storage(settings.storage_url)
    migrate(storage, "services.llm")
    guard = Guard(storage, settings)
    guard.check_exposure()
    schemas, tables, jobs = SchemaStore(storage), TableStore(storage, settings), JobStore(storage)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        storage.close()

    routers = [
        schema_router(schemas, guard),
        refresh_router(schemas, tables, jobs, settings, guard),
        field_router(schemas, tables, guard),
        alias_router(schemas, tables, guard),
        embedding_router(tables, Embedder(settings.cached_engines), settings, guard),
        job_router(jobs, guard),
        key_router(guard),
        _ready_router(storage, settings),
    ]
    return create_app("LLaCTR: LLM service", settings, routers, lifespan, DESCRIPTION)


def _ready_router(storage: Storage, settings: LlmSettings) -> APIRouter:
    router = APIRouter(tags=["health"])

    @router.get(
        "/readyz",
        summary="Whether storage answers and the model's weights are there and verified",
        response_model_exclude_none=True,
        responses=documented(503),
    )
    def readyz() -> Health:
        storage.ping()
        try:
            model_digest(resolve_model(settings.model))
        except LlactrError as error:
            raise UnavailableError(f"the language model cannot be used: {error.detail}") from error
        return Health(status="ready")

    return router


def main() -> None:
    """Serve with the settings of the environment."""
    settings = LlmSettings()
    stay_offline()
    serve(lambda: build_app(settings), settings)


if __name__ == "__main__":
    guarded(main)
