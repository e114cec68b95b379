"""/v1/fields/{schema}/aliases: which table a name points at; rolling back is the same call."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path
from pydantic import BaseModel, ConfigDict, Field

from services.llm.routes.schemas import SchemaPath
from services.llm.schema_store import SchemaStore
from services.llm.tables.store import TableStore
from services.shared.access.auth import Guard, Role
from services.shared.http.problems import documented
from services.shared.http.route import CheckedRoute

AliasPath = Annotated[str, Path(pattern=r"^[a-z][a-z0-9_.-]{0,49}$", description="The alias.", examples=["current"])]


class AliasBody(BaseModel):
    """Where the alias shall point."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"version": "previous"}]})

    version: str = Field(min_length=1, max_length=64, description="A version, or another alias.")


class AliasView(BaseModel):
    """Where the alias points now, and where it pointed before."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"schema": "movies", "alias": "current", "version": "9f2c" * 16, "previous": "07ab" * 16}]
        }
    )

    schema_name: str = Field(serialization_alias="schema")
    alias: str
    version: str
    previous: str | None


class AliasGone(BaseModel):
    """The alias that is no more, and where it pointed."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"schema": "movies", "alias": "night", "previous": "07ab" * 16}]}
    )

    schema_name: str = Field(serialization_alias="schema")
    alias: str
    previous: str


def alias_router(schemas: SchemaStore, tables: TableStore, guard: Guard) -> APIRouter:
    """The routes."""
    router = APIRouter(route_class=CheckedRoute, prefix="/v1/fields", tags=["fields"])

    @router.put(
        "/{schema}/aliases/{alias}",
        summary="Move an alias",
        description="Atomic. When `current` moves, `previous` points at what it left.",
        dependencies=[Depends(guard.require(Role.ADMIN))],
        responses=documented(400, 401, 403, 404, 413, 415, 422),
    )
    def move(name: SchemaPath, alias: AliasPath, body: AliasBody) -> AliasView:
        schemas.get(name)
        info, before = tables.move(name, alias, body.version)
        return AliasView(schema_name=name, alias=alias, version=info.version, previous=before)

    @router.delete(
        "/{schema}/aliases/{alias}",
        summary="Delete an alias",
        description="The table stays. 409: `current` and `previous` are moved, never deleted.",
        dependencies=[Depends(guard.require(Role.ADMIN, "schema"))],
        responses=documented(401, 403, 404, 409, 422),
    )
    def delete(name: SchemaPath, alias: AliasPath) -> AliasGone:
        schemas.get(name)
        return AliasGone(schema_name=name, alias=alias, previous=tables.forget_alias(name, alias))

    return router
