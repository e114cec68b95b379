"""The frame of every service's HTTP app: routers inside, ids, limits, problems and /healthz around them."""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from starlette.middleware import Middleware

from services.shared.http.middleware import BodyLimit, RequestLog
from services.shared.http.problems import Problem, documented, install_problems
from services.shared.http.short_way import ShortWay
from services.shared.settings import ServiceSettings

VERSION = "1"
Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]


class Health(BaseModel):
    """The answer of /healthz and /readyz."""

    status: str
    reason: str | None = None


class ServiceApp(FastAPI):
    """A FastAPI app whose OpenAPI document describes errors as they are: as Problem.

    `short_way` leads the calls that it knows past the app, where a server serves it.
    """

    short_way: ShortWay | None = None

    def openapi(self) -> dict[str, Any]:
        """The document."""
        if self.openapi_schema is None:
            document = get_openapi(
                title=self.title, version=self.version, description=self.description, routes=self.routes
            )
            schemas = document.setdefault("components", {}).setdefault("schemas", {})
            schemas["Problem"] = Problem.model_json_schema()
            schemas.pop("HTTPValidationError", None)
            schemas.pop("ValidationError", None)
            for path in document["paths"].values():
                for operation in path.values():
                    _replace_validation_answer(operation["responses"])
            self.openapi_schema = document
        return self.openapi_schema


def create_app(
    title: str,
    settings: ServiceSettings,
    routers: Sequence[APIRouter],
    lifespan: Lifespan | None = None,
    description: str = "",
) -> ServiceApp:
    """Build the app. `app.state.settings` is the settings; `request.state.request_id` is the id of a request."""
    app = ServiceApp(
        title=title,
        version=VERSION,
        description=description,
        lifespan=lifespan,
        telemetry={"tracing": False, "metrics": False, "logs": False},  # there is ours
        middleware=[Middleware(RequestLog), Middleware(BodyLimit, limit=settings.max_body_bytes)],
    )
    app.state.settings = settings
    install_problems(app)
    app.include_router(_health_router())
    for router in routers:
        app.include_router(router, responses=documented(429, 500, 503))
    return app


def _health_router() -> APIRouter:
    router = APIRouter(tags=["health"])

    @router.get("/healthz", summary="Whether the process lives", response_model_exclude_none=True)
    async def healthz() -> Health:
        return Health(status="ok")

    return router


def _replace_validation_answer(responses: dict[str, Any]) -> None:
    if "422" in responses:
        responses["422"] = {
            "description": "Invalid input; the body names the field.",
            "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
