"""GET /v1/models and below: what is registered, where it comes from, and which alias points where."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path
from pydantic import BaseModel, ConfigDict

from services.ctr.registry import ModelSummary, ModelVersion, Registry
from services.shared.auth import Guard, Role
from services.shared.problems import documented

ModelPath = Annotated[str, Path(description="The model's name.", examples=["bank-marketing"])]


class ModelsResponse(BaseModel):
    """All models by name."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        json_schema_extra={
            "example": {
                "models": [
                    {
                        "name": "bank-marketing",
                        "aliases": {"champion": "5f0c1a9be2d4", "previous": "90b2fd1c77aa"},
                        "versions": ["5f0c1a9be2d4", "90b2fd1c77aa"],
                    }
                ]
            }
        },
    )

    models: list[ModelSummary]


class VersionsResponse(BaseModel):
    """The versions of a model, the newest first."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    versions: list[ModelVersion]


def models_router(registry: Registry, guard: Guard) -> APIRouter:
    """The reading side of the registry."""
    router = APIRouter(tags=["models"], dependencies=[Depends(guard.require(Role.READER))])

    @router.get("/v1/models", summary="List the models", responses=documented(401, 403))
    def models() -> ModelsResponse:
        """Every model with its aliases and versions."""
        return ModelsResponse(models=registry.models())

    @router.get("/v1/models/{model}/versions", summary="List a model's versions", responses=documented(401, 403, 404))
    def versions(model: ModelPath) -> VersionsResponse:
        """Versions with lineage, metrics and aliases, the newest first."""
        return VersionsResponse(versions=registry.versions(model))

    @router.get(
        "/v1/models/{model}/versions/{version}", summary="Show one version", responses=documented(401, 403, 404)
    )
    def version(model: ModelPath, version: Annotated[str, Path(description="A version or an alias.")]) -> ModelVersion:
        """One version, by its name or by an alias that points at it."""
        return registry.get(model, version)

    return router
