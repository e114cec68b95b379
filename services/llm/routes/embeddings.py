"""/v1/embeddings: texts to vectors in OpenAI's shape, by a model or by the tuned model behind a field table."""

import base64
from typing import Annotated, Any, Literal, Self

from fastapi import APIRouter, Depends
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, JsonValue, StrictStr, field_validator, model_validator

from llactr_core.errors import OptionError, TooLargeError
from llactr_core.semantics.weights import model_label
from services.llm.embedder import Embedded, Embedder, Engine
from services.llm.models import allowed_model
from services.llm.plain import is_unicode
from services.llm.settings import LlmSettings
from services.llm.store import TableStore
from services.shared.auth import Guard, Role
from services.shared.problems import documented

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
    version: str | None = Field(default=None, description="A field table's version, or SCHEMA@ALIAS.")
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


def embedding_router(tables: TableStore, embedder: Embedder, settings: LlmSettings, guard: Guard) -> APIRouter:
    """The route."""
    router = APIRouter(tags=["embeddings"], dependencies=[Depends(guard.require(Role.READER))])

    @router.post(
        "/v1/embeddings",
        summary="Embed texts",
        response_model=EmbeddingsView,
        responses=documented(400, 401, 403, 404, 413, 415, 422, 429, 500),
    )
    def embeddings(body: EmbeddingsBody) -> JSONResponse:
        texts = _texts(body.input, settings)
        engine, label = _engine(body, tables, settings)
        return JSONResponse(_view(embedder.embed(engine, texts), label, body.encoding_format))

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
        if not is_unicode(text):
            raise OptionError(
                f"text {index} holds half a surrogate pair; send whole characters", row=index, field="input"
            )
        if len(text) > settings.max_text_chars:
            raise TooLargeError(
                f"text {index} has {len(text)} characters; at most {settings.max_text_chars} are allowed: shorten it",
                row=index,
                field="input",
            )
    return texts


def _engine(body: EmbeddingsBody, tables: TableStore, settings: LlmSettings) -> tuple[Engine, str]:
    if body.version is None:
        name = allowed_model(body.model, settings)
        return Engine(name), model_label(name)
    schema, separator, alias = body.version.rpartition("@")
    info = tables.info(schema, alias) if separator else tables.any_of_version(body.version)
    return Engine(info.model_name, tables.adapter(info)), info.model


def _view(embedded: Embedded, label: str, form: Annotated[str, "float or base64"]) -> dict[str, Any]:
    if form == "base64":
        vectors: list[Any] = [base64.b64encode(row.astype("<f4").tobytes()).decode() for row in embedded.vectors]
    else:
        vectors = embedded.vectors.tolist()
    return {
        "object": "list",
        "data": [{"object": "embedding", "index": i, "embedding": vector} for i, vector in enumerate(vectors)],
        "model": label,
        "usage": {"prompt_tokens": embedded.tokens, "total_tokens": embedded.tokens},
    }
