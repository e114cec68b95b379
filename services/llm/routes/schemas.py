"""/v1/schemas: what fields there are, and what the language model reads of each."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request, Response
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from llactr_core.schema import MAX_FIELDS, Schema
from llactr_core.schema import Field as SchemaField
from services.llm.jobs.extension import submit_extension
from services.llm.schema_store import Registered, SchemaStore
from services.llm.tables.store import TableStore
from services.shared.access.auth import Guard, Role, caller_of
from services.shared.http.problems import documented
from services.shared.http.route import CheckedRoute
from services.shared.jobs.job import iso
from services.shared.jobs.routes import JobRef
from services.shared.jobs.store import JobStore

EXAMPLE: dict[str, JsonValue] = {
    "name": "movies",
    "fields": [
        {"name": "user_gender", "description": "gender of the user", "kind": "categorical"},
        {"name": "movie_genre", "description": "genres of the movie", "kind": "multi-valued"},
    ],
}
SchemaPath = Annotated[str, Path(alias="schema", description="The schema's name.", examples=["movies"])]


class SchemaBody(BaseModel):
    """A schema to register. `label` and `group` may be sent along; the language model reads neither."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [EXAMPLE]})

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$")
    fields: tuple[SchemaField, ...] = Field(min_length=1, max_length=MAX_FIELDS)
    label: str | None = None
    group: str | None = None


class SchemaView(BaseModel):
    """A registered schema."""

    name: str
    fingerprint: str = Field(description="SHA-256 over names, descriptions and kinds of the fields, in order.")
    fields: tuple[SchemaField, ...]
    number: int = Field(description="Counts what the name has stood for, from 1.")
    registered_at: str
    extension: JobRef | None = Field(
        default=None, description="The job that adds fields which the current table lacks; its model is not tuned anew."
    )


class SchemaList(BaseModel):
    """The newest schema of every name."""

    schemas: list[SchemaView]


def schema_router(schemas: SchemaStore, tables: TableStore, jobs: JobStore, guard: Guard) -> APIRouter:
    """The routes."""
    router = APIRouter(route_class=CheckedRoute, prefix="/v1/schemas", tags=["schemas"])
    reader, trainer = Depends(guard.require(Role.READER)), Depends(guard.require(Role.TRAINER))

    @router.post(
        "",
        summary="Register a schema",
        description=(
            "201: a new schema, or a new version of its name. 200: it is registered like this already. Where the "
            "current table lacks fields of the schema, `extension` is the job that embeds them by the table's model."
        ),
        status_code=201,
        dependencies=[trainer],
        responses={
            200: {"model": SchemaView, "description": "Equal."},
            **documented(400, 401, 403, 409, 413, 415, 422, 429),
        },
    )
    def register(body: SchemaBody, request: Request, response: Response) -> SchemaView:
        guard.allow(request, body.name)
        schema = Schema.parse(body.model_dump(mode="json"))
        registered, is_new = schemas.register(schema)
        response.status_code = 201 if is_new else 200
        response.headers["Location"] = f"/v1/schemas/{schema.name}"
        extension = submit_extension(schema, tables, jobs)
        return _view(registered, JobRef(id=extension.id, state=extension.state.value) if extension else None)

    @router.get("", summary="The schemas", dependencies=[reader], responses=documented(401, 403))
    def all_schemas(request: Request) -> SchemaList:
        caller = caller_of(request)
        return SchemaList(schemas=[_view(one) for one in schemas.list() if caller.sees(one.schema.name)])

    own = Depends(guard.require(Role.READER, "schema"))

    @router.get("/{schema}", summary="One schema", dependencies=[own], responses=documented(401, 403, 404))
    def one(name: SchemaPath) -> SchemaView:
        return _view(schemas.get(name))

    return router


def _view(registered: Registered, extension: JobRef | None = None) -> SchemaView:
    return SchemaView(
        name=registered.schema.name,
        fingerprint=registered.fingerprint,
        fields=registered.schema.fields,
        number=registered.number,
        registered_at=iso(registered.registered_at) or "",
        extension=extension,
    )
