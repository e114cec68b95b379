"""GET /v1/models and below: what is registered, where it comes from, and which alias points where."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request
from pydantic import BaseModel, ConfigDict

from services.ctr.registry.records import ModelSummary, ModelVersion, Move
from services.ctr.registry.store import Registry
from services.shared.access.auth import Guard, Role, caller_of
from services.shared.http.problems import documented

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


class HistoryResponse(BaseModel):
    """Decisions about a model's aliases, the newest first."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    decisions: list[Move]


def models_router(registry: Registry, guard: Guard) -> APIRouter:
    """The reading side of the registry."""
    router = APIRouter(tags=["models"])
    reader, own = Depends(guard.require(Role.READER)), Depends(guard.require(Role.READER, "model"))

    @router.get("/v1/models", summary="List the models", dependencies=[reader], responses=documented(401, 403))
    def models(request: Request) -> ModelsResponse:
        """Every model that the key is for, with its aliases and versions."""
        caller = caller_of(request)
        return ModelsResponse(models=[model for model in registry.models() if caller.sees(model.name)])

    @router.get(
        "/v1/models/{model}/versions",
        summary="List a model's versions",
        dependencies=[own],
        responses=documented(401, 403, 404),
    )
    def versions(model: ModelPath) -> VersionsResponse:
        """Versions with lineage, metrics and aliases, the newest first."""
        return VersionsResponse(versions=registry.versions(model))

    @router.get(
        "/v1/models/{model}/versions/{version}",
        summary="Show one version",
        dependencies=[own],
        responses=documented(401, 403, 404),
    )
    def version(model: ModelPath, version: Annotated[str, Path(description="A version or an alias.")]) -> ModelVersion:
        """One version, by its name or by an alias that points at it."""
        return registry.get(model, version)

    @router.get(
        "/v1/models/{model}/history",
        summary="List the decisions about a model's aliases",
        dependencies=[own],
        responses=documented(401, 403, 404),
    )
    def history(
        model: ModelPath,
        limit: Annotated[int, Query(ge=1, le=1000, description="How many at most.")] = 50,
        before: Annotated[
            int | None,
            Query(ge=1, le=2**63 - 1, description="Only those with smaller numbers: the next page.", examples=[120]),
        ] = None,
    ) -> HistoryResponse:
        """Promotions, refusals with the gate's numbers, roll backs and removals, the newest first."""
        return HistoryResponse(decisions=registry.history(model, limit, before))

    return router
