"""The Open Inference Protocol, version 2: one input tensor per field, one output, `score`."""

from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request, Response
from fastapi.params import Depends as DependsOn
from pydantic import BaseModel, ConfigDict
from pydantic import Field as Setting

from llactr_core.errors import InputError, UnavailableError
from services.ctr.formats.decoding import JSON
from services.ctr.formats.oip import EXTENSIONS, HEADER, OCTETS, InferBody, encode_infer, metadata_of
from services.ctr.registry.store import Registry
from services.ctr.serving.finder import LOOK_UPS, PATIENCE_S, Finder
from services.ctr.serving.gate import TIMEOUT_PARAMETER
from services.ctr.serving.pipeline import Asked, ScoringPipeline
from services.ctr.serving.pool import ModelPool
from services.ctr.settings import CtrSettings
from services.shared.access.auth import Guard, Role
from services.shared.http.app import VERSION
from services.shared.http.patience import Patience
from services.shared.http.problems import documented
from services.shared.http.route import CheckedRoute

ModelPath = Annotated[
    str, Path(description="NAME, NAME:VERSION or NAME@ALIAS; NAME is its champion.", examples=["bank-marketing"])
]
VersionPath = Annotated[str, Path(description="A version.", examples=["5f0c1a9be2d4"])]


class Live(BaseModel):
    """The process answers."""

    live: bool


class Ready(BaseModel):
    """A model, or a champion of any, can score."""

    ready: bool


class ModelReady(Ready):
    """This model can score."""

    name: str


class ServerMetadata(BaseModel):
    """The service and what it does beyond the protocol's core."""

    name: str
    version: str
    extensions: list[str]


class TensorMetadata(BaseModel):
    """A tensor; -1 stands for any number of rows B."""

    name: str
    datatype: str = Setting(description="As it is asked for; the other data types of the protocol are read as well.")
    shape: list[int]


class ModelMetadata(BaseModel):
    """A model's tensors: one input per column of its schema."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class OutputTensor(BaseModel):
    """Click probabilities, [B]."""

    name: str
    datatype: str
    shape: list[int]
    parameters: dict[str, Any] | None = None
    data: list[float] | None = Setting(default=None, description="Absent where bytes were asked for.")


class InferResponse(BaseModel):
    """The answer to a request."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "model_name": "bank-marketing",
                "model_version": "5f0c1a9be2d4",
                "id": "42",
                "parameters": {"request_id": "0c9d6a5e4f"},
                "outputs": [{"name": "score", "datatype": "FP32", "shape": [2], "data": [0.0731, 0.4128]}],
            }
        }
    )

    model_name: str
    model_version: str
    id: str | None = Setting(default=None, description="The request's id, where it has one.")
    parameters: dict[str, Any] = Setting(description="request_id, which outcomes are reported under, and the arm.")
    outputs: list[OutputTensor]


_TENSOR = {
    "type": "object",
    "required": ["name", "shape", "datatype"],
    "properties": {
        "name": {"type": "string", "description": "The field's column."},
        "shape": {"type": "array", "items": {"type": "integer"}, "description": "[B] or [B, 1], B the same for all."},
        "datatype": {"type": "string", "description": "BYTES, BOOL, INT8 to INT64, UINT8 to UINT64, FP16 to FP64."},
        "parameters": {"type": "object"},
        "data": {"type": "array", "items": {}, "description": "B values; null and empty texts are missing."},
    },
}
_EXAMPLE = {
    "id": "42",
    "inputs": [
        {"name": "age", "shape": [2], "datatype": "FP64", "data": [41, 29]},
        {"name": "job", "shape": [2], "datatype": "BYTES", "data": ["technician", ""]},
    ],
    "outputs": [{"name": "score"}],
}
OPENAPI: dict[str, Any] = {
    "parameters": [
        TIMEOUT_PARAMETER,
        {
            "name": HEADER,
            "in": "header",
            "required": False,
            "description": "With binary tensor data: the bytes of JSON at the start of the body.",
            "schema": {"type": "integer", "minimum": 0},
            "example": 312,
        },
    ],
    "requestBody": {
        "required": True,
        "content": {
            JSON: {
                "schema": {
                    "type": "object",
                    "required": ["inputs"],
                    "properties": {
                        "id": {"type": "string"},
                        "parameters": {"type": "object", "description": "routing_key: whose request this is."},
                        "inputs": {"type": "array", "minItems": 1, "items": _TENSOR},
                        "outputs": {"type": "array", "items": {"type": "object", "required": ["name"]}},
                    },
                },
                "example": _EXAMPLE,
            },
            OCTETS: {"schema": {"type": "string", "format": "binary", "description": "JSON, then the tensors' bytes."}},
        },
    },
}


class _Models:
    """Finds the model that a path means, for callers whose key is for it."""

    def __init__(self, finder: Finder, registry: Registry) -> None:
        self._finder = finder
        self._registry = registry
        self._patience = Patience(PATIENCE_S, LOOK_UPS)

    async def ready(self, request: Request, reference: str) -> ModelReady:
        return ModelReady(name=(await self._finder.model(request, reference)).name, ready=True)

    async def metadata(self, request: Request, reference: str) -> ModelMetadata:
        loaded = await self._finder.model(request, reference)
        versions = await self._patience.wait(partial(self._registry.versions, loaded.name))
        known = [version.version for version in versions]
        return ModelMetadata.model_validate(metadata_of(loaded.name, loaded.scorer.schema, known))


def oip_router(
    pipeline: ScoringPipeline, pool: ModelPool, registry: Registry, settings: CtrSettings, guard: Guard
) -> APIRouter:
    """The protocol's endpoints; keys limited to models are checked against the name within the reference."""
    router = APIRouter(tags=["open inference protocol"], route_class=CheckedRoute)
    reader = Depends(guard.require(Role.READER))
    _add_server(router, pool, reader)
    _add_models(router, _Models(pipeline.finder, registry), reader)
    _add_infer(router, pipeline, settings.max_rows, reader)
    return router


def _add_server(router: APIRouter, pool: ModelPool, reader: DependsOn) -> None:
    @router.get("/v2/health/live", summary="Whether the process lives")
    async def live() -> Live:
        """200 while it answers."""
        return Live(live=True)

    @router.get("/v2/health/ready", summary="Whether a champion is loaded and verified")
    async def ready() -> Ready:
        """200 as soon as a champion can score."""
        if not pool.champions():
            raise UnavailableError("no champion is loaded yet; train a model, or promote a version")
        return Ready(ready=True)

    @router.get("/v2/", include_in_schema=False, dependencies=[reader])
    @router.get("/v2", summary="Name the service", dependencies=[reader], responses=documented(401, 403))
    async def server() -> ServerMetadata:
        """Its name, version and extensions."""
        return ServerMetadata(name="llactr", version=VERSION, extensions=list(EXTENSIONS))


def _add_models(router: APIRouter, models: _Models, reader: DependsOn) -> None:
    refusals = documented(401, 403, 404, 409, 422, 503)

    @router.get("/v2/models/{model}", summary="Describe a model's tensors", dependencies=[reader], responses=refusals)
    async def metadata(request: Request, model: ModelPath) -> ModelMetadata:
        """One input per column of the schema, and the output."""
        return await models.metadata(request, model)

    @router.get(
        "/v2/models/{model}/versions/{version}",
        summary="Describe a version's tensors",
        dependencies=[reader],
        responses=refusals,
    )
    async def version_metadata(request: Request, model: ModelPath, version: VersionPath) -> ModelMetadata:
        """One input per column of the schema, and the output."""
        return await models.metadata(request, _reference(model, version))

    @router.get("/v2/models/{model}/ready", summary="Whether a model scores", dependencies=[reader], responses=refusals)
    async def ready(request: Request, model: ModelPath) -> ModelReady:
        """200 once it is loaded and verified."""
        return await models.ready(request, model)

    @router.get(
        "/v2/models/{model}/versions/{version}/ready",
        summary="Whether a version scores",
        dependencies=[reader],
        responses=refusals,
    )
    async def version_ready(request: Request, model: ModelPath, version: VersionPath) -> ModelReady:
        """200 once it is loaded and verified; asking loads it."""
        return await models.ready(request, _reference(model, version))


def _add_infer(router: APIRouter, pipeline: ScoringPipeline, max_rows: int, reader: DependsOn) -> None:
    refusals = documented(400, 401, 403, 404, 409, 413, 415, 422, 503, 504)

    @router.post(
        "/v2/models/{model}/infer",
        summary="Score tensors",
        response_model=InferResponse,
        dependencies=[reader],
        responses=refusals,
        openapi_extra=OPENAPI,
    )
    async def infer(request: Request, model: ModelPath) -> Response:
        """Click probabilities of B rows by a model's champion, a version or an alias."""
        return await scored(request, model)

    @router.post(
        "/v2/models/{model}/versions/{version}/infer",
        summary="Score tensors by a version",
        response_model=InferResponse,
        dependencies=[reader],
        responses=refusals,
        openapi_extra=OPENAPI,
    )
    async def version_infer(request: Request, model: ModelPath, version: VersionPath) -> Response:
        """Click probabilities of B rows by one version."""
        return await scored(request, _reference(model, version))

    async def scored(request: Request, reference: str) -> Response:
        content = await request.body()
        body = InferBody(content, request.headers.get(HEADER), max_rows)
        answered = await pipeline.score(request, Asked(reference, body.decode, len(content)))
        answer, end = encode_infer(body.request, answered.scored)
        if end is None:
            return Response(answer, media_type=JSON)
        return Response(answer, media_type=OCTETS, headers={HEADER: str(end)})


def _reference(model: str, version: str) -> str:
    if ":" in model or "@" in model:
        raise InputError(f"model {model[:100]!r} names a version already; leave it out of the name or of the path")
    return f"{model}:{version}"
