"""The calls of the LLM service: schemas, field tables, embeddings."""

import uuid
from collections.abc import Mapping, Sequence

from llactr_client import parsing
from llactr_client.call import Call, Reply, encode, path
from llactr_client.results import (
    Alias,
    Comparison,
    Embeddings,
    FieldTable,
    Refresh,
    SchemaInfo,
    Similarity,
    TableVersion,
)

JSON = {"Content-Type": "application/json"}
SAFETENSORS = "application/x-safetensors"


def register_schema(name: str, fields: Sequence[Mapping[str, object]]) -> Call[SchemaInfo]:
    """POST /v1/schemas."""

    def parse(reply: Reply) -> SchemaInfo:
        return _schema(reply.object(), created=reply.status == 201)

    body = encode({"name": name, "fields": list(fields)})
    return Call("llm", "POST", "/v1/schemas", parse, body, JSON)


def schemas() -> Call[tuple[SchemaInfo, ...]]:
    """GET /v1/schemas."""

    def parse(reply: Reply) -> tuple[SchemaInfo, ...]:
        return tuple(_schema(entry) for entry in parsing.objects(reply.object(), "schemas"))

    return Call("llm", "GET", "/v1/schemas", parse)


def schema(name: str) -> Call[SchemaInfo]:
    """GET /v1/schemas/{schema}."""

    def parse(reply: Reply) -> SchemaInfo:
        content = reply.object()
        listed = parsing.objects(content, "schemas")
        return _schema(listed[0] if listed else content)

    return Call("llm", "GET", path("v1", "schemas", name), parse)


def refresh_fields(
    schema: str,
    samples: Mapping[str, Sequence[str]] | None,
    dataset: str | None,
    model: str | None,
    ssft: Mapping[str, object] | None,
    idempotency_key: str | None,
) -> Call[Refresh]:
    """POST /v1/admin/fields/{schema}/refresh."""

    def parse(reply: Reply) -> Refresh:
        content = reply.object()
        if reply.status == 200 and "version" in content:
            return Refresh(version=parsing.text(content, "version"))
        return Refresh(job=parsing.submitted("llm", reply))

    body = given({"samples": samples, "dataset": dataset, "model": model, "ssft": ssft})
    target = path("v1", "admin", "fields", schema, "refresh")
    return Call("llm", "POST", target, parse, encode(body), job_headers(idempotency_key))


def fields(schema: str, version: str | None) -> Call[FieldTable]:
    """GET /v1/fields/{schema}, or one of its versions or aliases."""

    def parse(reply: Reply) -> FieldTable:
        content = reply.object()
        return FieldTable(
            schema=parsing.text(content, "schema"),
            version=parsing.text(content, "version"),
            fields=parsing.texts(content, "fields"),
            vectors=parsing.matrix(content, "vectors"),
            model=parsing.text(content, "model"),
            recipe=parsing.text(content, "recipe"),
            metrics=parsing.mapping(content, "metrics"),
            provenance=parsing.mapping(content, "provenance"),
        )

    return Call("llm", "GET", _table(schema, version), parse, headers={"Accept": "application/json"}, cached=True)


def fields_file(schema: str, version: str | None) -> Call[bytes]:
    """GET /v1/fields/{schema} as a .safetensors file with JSON metadata."""
    return Call("llm", "GET", _table(schema, version), lambda r: r.body, headers={"Accept": SAFETENSORS}, cached=True)


def field_versions(schema: str) -> Call[tuple[TableVersion, ...]]:
    """GET /v1/fields/{schema}/versions."""

    def parse(reply: Reply) -> tuple[TableVersion, ...]:
        return tuple(
            TableVersion(
                version=parsing.text(entry, "version"),
                created_at=parsing.text(entry, "created_at"),
                aliases=parsing.texts(entry, "aliases"),
                details=entry,
            )
            for entry in parsing.objects(reply.object(), "versions")
        )

    return Call("llm", "GET", path("v1", "fields", schema, "versions"), parse)


def similarity(schema: str) -> Call[Similarity]:
    """GET /v1/fields/{schema}/similarity."""

    def parse(reply: Reply) -> Similarity:
        content = reply.object()
        key = "similarity" if "similarity" in content else "cosines"
        return Similarity(
            parsing.texts(content, "fields"), parsing.matrix(content, key), parsing.text(content, "version")
        )

    return Call("llm", "GET", path("v1", "fields", schema, "similarity"), parse)


def compare_fields(schema: str, a: str, b: str) -> Call[Comparison]:
    """GET /v1/fields/{schema}/compare."""

    def parse(reply: Reply) -> Comparison:
        content = reply.object()
        change = parsing.mapping(content, "similarity_change")
        return Comparison(
            a=parsing.text(parsing.mapping(content, "a"), "version"),
            b=parsing.text(parsing.mapping(content, "b"), "version"),
            cosines={
                parsing.text(one, "field"): parsing.number(one, "cosine") for one in parsing.objects(content, "shared")
            },
            only_a=parsing.texts(content, "only_a"),
            only_b=parsing.texts(content, "only_b"),
            change=parsing.matrix(change, "matrix"),
            largest_change=parsing.number(change, "largest") or 0.0,
            mean_change=parsing.number(change, "mean") or 0.0,
        )

    return Call("llm", "GET", path("v1", "fields", schema, "compare"), parse, params={"a": a, "b": b})


def delete_fields(schema: str, version: str) -> Call[tuple[str, ...]]:
    """DELETE /v1/fields/{schema}/versions/{version}."""
    return Call("llm", "DELETE", path("v1", "fields", schema, "versions", version), _deleted)


def prune_fields(schema: str, dry_run: bool) -> Call[tuple[str, ...]]:
    """POST /v1/admin/fields/{schema}/prune."""
    target = path("v1", "admin", "fields", schema, "prune")
    return Call("llm", "POST", target, _deleted, encode({"dry_run": dry_run}), JSON)


def set_field_alias(schema: str, alias: str, version: str) -> Call[Alias]:
    """PUT /v1/fields/{schema}/aliases/{alias}."""
    target = path("v1", "fields", schema, "aliases", alias)
    return Call("llm", "PUT", target, alias_of, encode({"version": version}), JSON)


def delete_field_alias(schema: str, alias: str) -> Call[str]:
    """DELETE /v1/fields/{schema}/aliases/{alias}; the version that it pointed at."""
    target = path("v1", "fields", schema, "aliases", alias)
    return Call("llm", "DELETE", target, lambda reply: parsing.text(reply.object(), "previous"))


def embeddings(texts: str | Sequence[str], model: str | None, version: str | None) -> Call[Embeddings]:
    """POST /v1/embeddings."""

    def parse(reply: Reply) -> Embeddings:
        content = reply.object()
        entries = sorted(parsing.objects(content, "data"), key=lambda entry: parsing.number(entry, "index") or 0.0)
        vectors = tuple(parsing.numbers(entry, "embedding") for entry in entries)
        return Embeddings(vectors, parsing.text(content, "model"))

    body = given({"input": [texts] if isinstance(texts, str) else list(texts), "model": model, "version": version})
    return Call("llm", "POST", "/v1/embeddings", parse, encode(body), JSON)


def alias_of(reply: Reply) -> Alias:
    """Read the answer to the move of an alias."""
    content = reply.object()
    previous = parsing.text(content, "previous") or None
    return Alias(parsing.text(content, "alias"), parsing.text(content, "version"), previous, content)


def given(content: Mapping[str, object]) -> dict[str, object]:
    """The entries that are not None."""
    return {key: value for key, value in content.items() if value is not None}


def job_headers(idempotency_key: str | None) -> dict[str, str]:
    """Headers of a call that starts a job. Without a key a fresh one is made, so that a retry starts no second job."""
    return {**JSON, "Idempotency-Key": idempotency_key or uuid.uuid4().hex}


def _schema(content: Mapping[str, object], created: bool = False) -> SchemaInfo:
    extension = parsing.mapping(content, "extension")
    return SchemaInfo(
        name=parsing.text(content, "name"),
        fingerprint=parsing.text(content, "fingerprint"),
        fields=parsing.objects(content, "fields"),
        created=created,
        extension=parsing.job_of("llm", extension) if extension else None,
    )


def _deleted(reply: Reply) -> tuple[str, ...]:
    return parsing.texts(reply.object(), "versions")


def _table(schema: str, version: str | None) -> str:
    return path("v1", "fields", schema) if version is None else path("v1", "fields", schema, "versions", version)
