"""The calls of the LLM service: schemas, field tables, embeddings."""

from collections.abc import Mapping, Sequence

from llactr_client import parsing
from llactr_client.call import JSON, Call, Reply, encode, given, job_headers, path
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

SAFETENSORS = "application/x-safetensors"


def register_schema(name: str, fields: Sequence[Mapping[str, object]]) -> Call[SchemaInfo]:
    """Register a schema's fields (name, description, kind); an equal one is registered already."""

    def parse(reply: Reply) -> SchemaInfo:
        return _schema(reply.object(), created=reply.status == 201)

    body = encode({"name": name, "fields": list(fields)})
    return Call("llm", "POST", "/v1/schemas", parse, body, JSON)


def schemas() -> Call[tuple[SchemaInfo, ...]]:
    """All schemas."""

    def parse(reply: Reply) -> tuple[SchemaInfo, ...]:
        return tuple(_schema(entry) for entry in parsing.objects(reply.object(), "schemas"))

    return Call("llm", "GET", "/v1/schemas", parse)


def schema(name: str) -> Call[SchemaInfo]:
    """One schema."""

    def parse(reply: Reply) -> SchemaInfo:
        content = reply.object()
        listed = parsing.objects(content, "schemas")
        return _schema(listed[0] if listed else content)

    return Call("llm", "GET", path("v1", "schemas", name), parse)


def refresh_fields(
    schema: str,
    *,
    samples: Mapping[str, Sequence[str]] | None = None,
    dataset: str | None = None,
    model: str | None = None,
    ssft: Mapping[str, object] | None = None,
    larr: Mapping[str, object] | None = None,
    idempotency_key: str | None = None,
) -> Call[Refresh]:
    """Tune and embed a schema's fields anew, from samples or from a dataset that the service can read.

    With `larr` ("texts" and "options") the model is tuned by stages 1 and 2 of LARR instead.
    """

    def parse(reply: Reply) -> Refresh:
        content = reply.object()
        if reply.status == 200 and "version" in content:
            return Refresh(version=parsing.text(content, "version"))
        return Refresh(job=parsing.submitted("llm", reply))

    body = given({"samples": samples, "dataset": dataset, "model": model, "ssft": ssft, "larr": larr})
    target = path("v1", "admin", "fields", schema, "refresh")
    return Call("llm", "POST", target, parse, encode(body), job_headers(idempotency_key))


def fields(schema: str, version: str | None = None) -> Call[FieldTable]:
    """The field vectors of a version or alias, default the current one; unchanged vectors are not sent again."""

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


def fields_file(schema: str, version: str | None = None) -> Call[bytes]:
    """The same as the bytes of a .safetensors file."""
    return Call("llm", "GET", _table(schema, version), lambda r: r.body, headers={"Accept": SAFETENSORS}, cached=True)


def field_versions(schema: str) -> Call[tuple[TableVersion, ...]]:
    """The versions of a schema's field table."""

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
    """Cosines between the current field vectors."""

    def parse(reply: Reply) -> Similarity:
        content = reply.object()
        key = "similarity" if "similarity" in content else "cosines"
        return Similarity(
            parsing.texts(content, "fields"), parsing.matrix(content, key), parsing.text(content, "version")
        )

    return Call("llm", "GET", path("v1", "fields", schema, "similarity"), parse)


def compare_fields(schema: str, a: str = "previous", b: str = "current") -> Call[Comparison]:
    """How the field vectors of one version or alias differ from those of another."""

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
    """Delete a version of a schema's field table that no alias points at."""
    return Call("llm", "DELETE", path("v1", "fields", schema, "versions", version), _deleted)


def prune_fields(schema: str, *, dry_run: bool = False) -> Call[tuple[str, ...]]:
    """Delete the versions that the retention rule gives up, or (dry run) only tell them."""
    target = path("v1", "admin", "fields", schema, "prune")
    return Call("llm", "POST", target, _deleted, encode({"dry_run": dry_run}), JSON)


def set_field_alias(schema: str, alias: str, version: str) -> Call[Alias]:
    """Point an alias at a version; rolling back is the same call with an older version."""
    target = path("v1", "fields", schema, "aliases", alias)
    return Call("llm", "PUT", target, parsing.alias_of, encode({"version": version}), JSON)


def delete_field_alias(schema: str, alias: str) -> Call[str]:
    """Delete an alias other than `current` and `previous`; the version that it pointed at."""
    target = path("v1", "fields", schema, "aliases", alias)
    return Call("llm", "DELETE", target, lambda reply: parsing.text(reply.object(), "previous"))


def embeddings(texts: str | Sequence[str], *, model: str | None = None, version: str | None = None) -> Call[Embeddings]:
    """Vectors of texts (or of one), by the base model or by the tuned model of a field table version."""

    def parse(reply: Reply) -> Embeddings:
        content = reply.object()
        entries = sorted(parsing.objects(content, "data"), key=lambda entry: parsing.number(entry, "index") or 0.0)
        vectors = tuple(parsing.numbers(entry, "embedding") for entry in entries)
        return Embeddings(vectors, parsing.text(content, "model"))

    body = given({"input": [texts] if isinstance(texts, str) else list(texts), "model": model, "version": version})
    return Call("llm", "POST", "/v1/embeddings", parse, encode(body), JSON)


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
