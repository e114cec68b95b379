"""/v1/embeddings: texts to vectors in OpenAI's shape, by a model or by the tuned model behind a field table.

A call whose vectors are all in memory never waits behind one that computes.
"""

import base64
from collections.abc import Sequence
from typing import Literal, Self

import msgspec
import numpy as np
from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, ConfigDict, Field, JsonValue, StrictStr, field_validator, model_validator

from llactr_core.errors import OptionError, RateError, TooLargeError
from services.llm.models import allowed_model
from services.llm.settings import LlmSettings
from services.llm.vectors.source import Source, Sources
from services.llm.vectors.vector import Vector
from services.llm.vectors.vectors import Vectors
from services.shared.access.auth import Guard, Role, caller_of
from services.shared.http.problems import documented
from services.shared.http.route import CheckedRoute

COMPUTING_CALLS = 16  # calls that compute, or wait for one that does, at the same time
WAITING_CALLS = 64  # calls that wait for their turn

EXAMPLE: dict[str, JsonValue] = {
    "object": "list",
    "data": [{"object": "embedding", "index": 0, "embedding": [0.25, -0.5, 0.125]}],
    "model": "all-MiniLM-L6-v2",
    "usage": {"prompt_tokens": 6, "total_tokens": 6},
}


class EmbeddingsBody(BaseModel):
    """The texts, and who reads them: a model, or the tuned model of a field table's version."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"input": ["gender of the user"], "model": "all-MiniLM-L6-v2"}]}
    )

    input: StrictStr | list[StrictStr] = Field(description="One text or several; empty texts are refused.")
    model: str | None = Field(default=None, description="The service's own where both are absent.")
    version: str | None = Field(default=None, description="A field table's version, SCHEMA@VERSION or SCHEMA@ALIAS.")
    dimensions: int | None = Field(default=None, description="Vectors have one length, D; any other one is refused.")
    encoding_format: Literal["float", "base64"] = "float"
    user: str | None = Field(default=None, description="Accepted for OpenAI's clients; not used.")

    @field_validator("input", mode="before")
    @classmethod
    def _texts_only(cls, given: object) -> object:
        # Here, so that the message is one: a union of types would report each of its members.
        texts = given if isinstance(given, list) else [given]
        if not all(isinstance(text, str) for text in texts):
            raise ValueError("give one text or a list of texts; tokens and other values are not read")
        return given

    @model_validator(mode="after")
    def _one_engine(self) -> Self:
        if self.model is not None and self.version is not None:
            raise ValueError("give 'model' or 'version', not both: a version has its own model")
        return self


class EmbeddingView(BaseModel):
    """One vector."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str = Field(description="float32 [D], or base64 of its little-endian bytes.")


class Usage(BaseModel):
    """How many tokens the model read."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingsView(BaseModel):
    """The vectors in the order of the texts."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})

    object: Literal["list"]
    data: list[EmbeddingView]
    model: str
    usage: Usage


def embedding_router(sources: Sources, vectors: Vectors, settings: LlmSettings, guard: Guard) -> APIRouter:
    """The route."""
    router = APIRouter(
        route_class=CheckedRoute, tags=["embeddings"], dependencies=[Depends(guard.require(Role.READER))]
    )
    computing = CapacityLimiter(COMPUTING_CALLS)

    def source_of(body: EmbeddingsBody, request: Request) -> Source:
        if body.version is None:
            return sources.of_model(allowed_model(body.model, settings))
        info = sources.table(body.version, caller_of(request).scopes)
        guard.allow(request, info.schema)
        return sources.of_table(info)

    def at_once(body: EmbeddingsBody, request: Request) -> tuple[Source, list[str], Response | None]:
        texts = _texts(body.input, settings)
        source = source_of(body, request)
        found = vectors.remembered(source.reading, texts)
        return source, texts, _answer(body, source, found) if found else None

    def with_time(body: EmbeddingsBody, source: Source, texts: list[str]) -> Response:
        return _answer(body, source, vectors.embed(source.reading, source.voice, texts))

    @router.post(
        "/v1/embeddings",
        summary="Embed texts",
        response_model=EmbeddingsView,
        responses=documented(400, 401, 403, 404, 413, 415, 422, 429),
    )
    async def embeddings(body: EmbeddingsBody, request: Request) -> Response:
        source, texts, answer = await to_thread.run_sync(at_once, body, request)
        if answer is not None:
            return answer
        if computing.statistics().tasks_waiting >= WAITING_CALLS:
            raise RateError(f"{WAITING_CALLS} embedding calls are waiting already; send the call again later")
        return await to_thread.run_sync(with_time, body, source, texts, limiter=computing)

    return router


def _texts(given: str | list[str], settings: LlmSettings) -> list[str]:
    texts = [given] if isinstance(given, str) else given
    if not texts:
        raise OptionError("no text to embed; give one, or a list of them", field="input")
    if len(texts) > settings.max_texts:
        raise TooLargeError(
            f"{len(texts)} texts in one call; at most {settings.max_texts} are allowed: send several calls",
            field="input",
        )
    for index, text in enumerate(texts):
        if not text:
            raise OptionError(f"text {index} is empty; leave it out", row=index, field="input")
        if len(text) > settings.max_text_chars:
            raise TooLargeError(
                f"text {index} has {len(text)} characters; at most {settings.max_text_chars} are allowed: shorten it",
                row=index,
                field="input",
            )
    return texts


def _answer(body: EmbeddingsBody, source: Source, vectors: Sequence[Vector]) -> Response:
    width = vectors[0].width
    if body.dimensions not in (None, width):
        raise OptionError(
            f"{body.dimensions} dimensions were asked for, the vectors of {source.label} have {width}: leave it out",
            field="dimensions",
        )
    tokens = sum(vector.tokens for vector in vectors)
    show = _base64 if body.encoding_format == "base64" else _floats
    content = {
        "object": "list",
        "data": [{"object": "embedding", "index": i, "embedding": show(one)} for i, one in enumerate(vectors)],
        "model": source.label,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }
    return Response(msgspec.json.encode(content), media_type="application/json")


def _base64(vector: Vector) -> str:
    return base64.b64encode(vector.content).decode()


def _floats(vector: Vector) -> list[float]:
    floats: list[float] = np.frombuffer(vector.content, dtype="<f4").tolist()
    return floats
