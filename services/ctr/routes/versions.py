"""Versions that come from elsewhere, and versions that go."""

from typing import Annotated

from fastapi import APIRouter, Body, Depends, Path
from pydantic import BaseModel, ConfigDict
from pydantic import Field as Setting

from services.ctr.registry.importing import import_bundle
from services.ctr.registry.records import ModelVersion
from services.ctr.registry.retention import Retention
from services.ctr.registry.store import Registry
from services.ctr.routes.aliases import ModelPath
from services.ctr.settings import CtrSettings
from services.shared.access.auth import Guard, Role
from services.shared.http.problems import documented
from services.shared.http.route import CheckedRoute

VersionPath = Annotated[str, Path(max_length=128, description="A version; no alias.", examples=["5f0c1a9be2d4"])]


class ImportRequest(BaseModel):
    """Where the bundle lies."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", json_schema_extra={"example": {"bundle": "s3://models/bank-marketing/2026-11"}}
    )

    bundle: str = Setting(
        min_length=1, max_length=4096, description="A folder or URL under `data_roots`, as `llactr train` writes it."
    )


class PruneRequest(BaseModel):
    """Whether the versions are really deleted."""

    model_config = ConfigDict(frozen=True, extra="forbid", json_schema_extra={"example": {"dry_run": True}})

    dry_run: bool = Setting(default=False, description="Only say which versions would be deleted.")


class DeletedResponse(BaseModel):
    """The versions that were deleted, or would be."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", json_schema_extra={"example": {"versions": ["90b2fd1c77aa"], "dry_run": False}}
    )

    versions: list[str]
    dry_run: bool = False


def version_router(registry: Registry, settings: CtrSettings, guard: Guard) -> APIRouter:
    """The routes that add and delete versions."""
    router = APIRouter(route_class=CheckedRoute, tags=["admin"])
    trainer, admin = (Depends(guard.require(role, "model")) for role in (Role.TRAINER, Role.ADMIN))
    retention = Retention(registry, settings)

    @router.post(
        "/v1/admin/models/{model}/versions",
        status_code=201,
        dependencies=[trainer],
        responses=documented(400, 401, 403, 404, 413, 415, 503, 507),
        summary="Register a bundle that was trained elsewhere",
    )
    def register(model: ModelPath, request: ImportRequest) -> ModelVersion:
        """Copies the bundle, verifies it on its golden rows, and registers it; no alias is moved."""
        return import_bundle(registry, settings, model, request.bundle)

    @router.delete(
        "/v1/admin/models/{model}/versions/{version}",
        dependencies=[admin],
        responses=documented(401, 403, 404, 409),
        summary="Delete a version",
    )
    def delete(model: ModelPath, version: VersionPath) -> DeletedResponse:
        """Deletes the version, and its bundle where no other model has it; not what an alias or a job names."""
        retention.delete(model, version)
        return DeletedResponse(versions=[version])

    @router.post(
        "/v1/admin/models/{model}/prune",
        dependencies=[admin],
        responses=documented(400, 401, 403, 404, 413, 415),
        summary="Delete the versions that the retention gives up",
    )
    def prune(model: ModelPath, request: Annotated[PruneRequest | None, Body()] = None) -> DeletedResponse:
        """What a worker does once an hour: see the settings `keep_versions` and `keep_hours`."""
        if request is not None and request.dry_run:
            return DeletedResponse(versions=retention.unused(model), dry_run=True)
        return DeletedResponse(versions=retention.prune(model))

    return router
