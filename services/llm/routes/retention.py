"""/v1/fields/{schema}/versions/{version} and /v1/admin/fields/{schema}/prune: field tables go."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path
from pydantic import BaseModel, ConfigDict, Field

from services.llm.routes.schemas import SchemaPath
from services.llm.schema_store import SchemaStore
from services.llm.tables.retention import Retention
from services.shared.access.auth import Guard, Role
from services.shared.http.problems import documented
from services.shared.http.route import CheckedRoute

ExactVersion = Annotated[str, Path(pattern="^[0-9a-f]{64}$", description="A version; an alias is no version.")]


class PruneBody(BaseModel):
    """Whether to delete, or only to tell."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"dry_run": True}]})

    dry_run: bool = Field(default=False, description="Delete nothing; the answer is what would be deleted.")


EVERYTHING = PruneBody()


class Pruned(BaseModel):
    """The versions that were, or would be, deleted."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"schema": "movies", "versions": ["9f2c" * 16], "dry_run": True}]}
    )

    schema_name: str = Field(serialization_alias="schema")
    versions: list[str]
    dry_run: bool


def retention_router(schemas: SchemaStore, retention: Retention, guard: Guard) -> APIRouter:
    """The routes."""
    router = APIRouter(
        route_class=CheckedRoute,
        prefix="/v1",
        tags=["fields"],
        dependencies=[Depends(guard.require(Role.ADMIN, "schema"))],
    )

    @router.delete(
        "/fields/{schema}/versions/{version}",
        summary="Delete a field table",
        description="409: an alias points at it. Its files go with an hourly round, where no other table needs them.",
        responses=documented(401, 403, 404, 409, 422),
    )
    def delete(name: SchemaPath, version: ExactVersion) -> Pruned:
        retention.delete(name, version)
        return Pruned(schema_name=name, versions=[version], dry_run=False)

    @router.post(
        "/admin/fields/{schema}/prune",
        summary="Delete the unused field tables of a schema",
        description=(
            "Unused: no alias points at it, it is not among the newest `keep_versions`, and older than `keep_days`. "
            "The worker does the same every hour."
        ),
        responses=documented(400, 401, 403, 404, 413, 415, 422),
    )
    def prune(name: SchemaPath, body: PruneBody = EVERYTHING) -> Pruned:
        schemas.get(name)
        versions = [info.version for info in retention.unused(name)] if body.dry_run else retention.prune(name)
        return Pruned(schema_name=name, versions=versions, dry_run=body.dry_run)

    return router
