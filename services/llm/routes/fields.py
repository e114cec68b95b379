"""/v1/fields/{schema}: field tables by version or alias, in three formats, and what they look like inside."""

from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Depends, Header, Path, Query, Response
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from services.llm.routes.schemas import SchemaPath
from services.llm.schema_store import SchemaStore
from services.llm.tables.answers import Answers
from services.llm.tables.formats import ARROW, JSON, SAFETENSORS, choose, etag
from services.llm.tables.store import CURRENT, TableStore
from services.llm.tables.table_info import TableInfo
from services.shared.access.auth import Guard, Role
from services.shared.http.problems import documented
from services.shared.jobs.job import iso

EXAMPLE: dict[str, JsonValue] = {
    "schema": "movies",
    "version": "9f2c" * 16,
    "fields": ["user_gender", "movie_genre"],
    "vectors": [[0.25, -0.5, 0.125], [0.0625, 0.75, -0.25]],
    "model": "all-MiniLM-L6-v2",
    "recipe": "41d0" * 16,
    "provenance": {"model_digest": "53aa" * 16},
    "metrics": {"held_out_accuracy": 0.65},
}
VersionPath = Annotated[str, Path(description="A version, or an alias such as `current` or `previous`.")]
Accept = Annotated[str | None, Header(alias="Accept", description=f"{JSON}, {ARROW} or {SAFETENSORS}.")]
IfNoneMatch = Annotated[str | None, Header(alias="If-None-Match", description="The ETag that the caller has.")]


class FieldTableView(BaseModel):
    """A field table: K fields, their vectors float32 [K][D], and where they come from."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})

    schema_name: str = Field(alias="schema")
    version: str = Field(description="SHA-256 over names, vector bytes and recipe.")
    fields: list[str]
    vectors: list[list[float]]
    model: str
    recipe: str = Field(description="SHA-256 over schema, samples, model weights, options, seed and code version.")
    provenance: dict[str, Any]
    metrics: dict[str, Any]


class VersionView(BaseModel):
    """A field table without its vectors."""

    version: str
    recipe: str
    fingerprint: str = Field(description="Of the schema that it was made for.")
    model: str
    fields: int = Field(description="K")
    width: int = Field(description="D")
    tuned: bool = Field(description="Whether the language model was tuned to the fields.")
    extended: list[str] = Field(description="Fields that were added later, embedded without a tuning of their own.")
    parent: str | None = Field(description="What `current` was when the table was published.")
    job: str | None
    metrics: dict[str, Any]
    created_at: str
    aliases: list[str]


class VersionList(BaseModel):
    """The tables of a schema, newest first."""

    versions: list[VersionView]


class SimilarityView(BaseModel):
    """Cosines between the field vectors, float32 [K][K]."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "schema": "movies",
                    "version": "9f2c" * 16,
                    "fields": ["user_gender", "movie_genre"],
                    "similarity": [[1.0, 0.31], [0.31, 1.0]],
                }
            ]
        }
    )

    schema_name: str = Field(serialization_alias="schema")
    version: str
    fields: list[str]
    similarity: list[list[float]]


_TABLE: dict[int | str, dict[str, Any]] = {
    200: {
        "model": FieldTableView,
        "content": {
            ARROW: {"schema": {"type": "string", "format": "binary"}},
            SAFETENSORS: {"schema": {"type": "string", "format": "binary"}},
        },
        "headers": {
            "ETag": {"description": "The version and, but for JSON, the format.", "schema": {"type": "string"}}
        },
    },
    304: {"description": "The caller has this version."},
    **documented(401, 403, 404, 406),
}


def field_router(schemas: SchemaStore, tables: TableStore, answers: Answers, guard: Guard) -> APIRouter:
    """The reading routes."""
    router = APIRouter(
        prefix="/v1/fields", tags=["fields"], dependencies=[Depends(guard.require(Role.READER, "schema"))]
    )

    async def answered(schema: str, name: str, accept: str | None, known: str | None) -> Response:
        media = choose(accept)
        pointer = answers.held_pointer(schema, name)
        if pointer is None:
            pointer = await to_thread.run_sync(answers.pointer, schema, name)
        tag = etag(pointer.version, media)
        headers = {"ETag": tag, "Vary": "Accept", "Cache-Control": "no-cache"}
        if _matches(known, tag):
            return Response(status_code=304, headers=headers)
        content = answers.held_content(schema, pointer, media)
        if content is None:
            content = await to_thread.run_sync(answers.content, schema, pointer, media)
        return Response(content, media_type=media, headers=headers)

    @router.get("/{schema}", summary="The current field table", response_class=Response, responses=_TABLE)
    async def current(name: SchemaPath, accept: Accept = None, if_none_match: IfNoneMatch = None) -> Response:
        return await answered(name, CURRENT, accept, if_none_match)

    @router.get("/{schema}/versions", summary="The field tables of a schema", responses=documented(401, 403, 404))
    def versions(name: SchemaPath) -> VersionList:
        found = tables.versions(name)
        if not found:
            schemas.get(name)
        return VersionList(versions=[_view(info) for info in found])

    @router.get("/{schema}/versions/{version}", summary="One field table", response_class=Response, responses=_TABLE)
    async def table(
        name: SchemaPath, version: VersionPath, accept: Accept = None, if_none_match: IfNoneMatch = None
    ) -> Response:
        return await answered(name, version, accept, if_none_match)

    @router.get("/{schema}/similarity", summary="How alike the fields are", responses=documented(401, 403, 404))
    def similarity(
        name: SchemaPath,
        version: Annotated[str, Query(description="A version or an alias.")] = CURRENT,
    ) -> SimilarityView:
        pointer = answers.pointer(name, version)
        content = tables.contents.read(pointer.version, pointer.file_digest).table
        return SimilarityView(
            schema_name=name,
            version=pointer.version,
            fields=list(content.fields),
            similarity=content.similarity().tolist(),
        )

    return router


def _matches(header: str | None, tag: str) -> bool:
    """Whether If-None-Match names the tag, by the weak comparison of RFC 9110."""
    if header is None:
        return False
    return header.strip() == "*" or tag in {one.strip().removeprefix("W/") for one in header.split(",")}


def _view(info: TableInfo) -> VersionView:
    return VersionView(
        version=info.version,
        recipe=info.recipe,
        fingerprint=info.fingerprint,
        model=info.model,
        fields=info.field_count,
        width=info.width,
        tuned=info.adapter_digest is not None,
        parent=info.parent,
        job=info.job_id,
        metrics=info.metrics,
        created_at=iso(info.created_at) or "",
        aliases=list(info.aliases),
        extended=list(info.extended),
    )
