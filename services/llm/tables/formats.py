"""A field table as JSON, Arrow or safetensors, chosen by the Accept header. All three carry the same float32 bits."""

import json
import math
from collections.abc import Callable

import pyarrow as pa
from starlette.exceptions import HTTPException

from services.llm.plain import plain
from services.llm.tables.contents import Published

JSON = "application/json"
ARROW = "application/vnd.apache.arrow.stream"
SAFETENSORS = "application/x-safetensors"


def as_json(published: Published, schema: str) -> bytes:
    """A JSON object; the decimals of the vectors read back, as float32, to the same bits."""
    return json.dumps(plain({"schema": schema, **published.table.to_json()}), allow_nan=False).encode()


def as_arrow(published: Published, schema: str) -> bytes:
    """An Arrow IPC stream with the columns `field` and `vector` (fixed-size list float32 [D]), facts as metadata."""
    table = published.table
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(table.vectors.reshape(-1)), table.vectors.shape[1])
    facts = {
        "schema": schema,
        "version": table.version,
        "model": table.model,
        "recipe": table.recipe,
        "provenance": json.dumps(plain(dict(table.provenance))),
        "metrics": json.dumps(plain(dict(table.metrics))),
    }
    rows = pa.table({"field": pa.array(table.fields, pa.string()), "vector": vectors}).replace_schema_metadata(facts)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write_table(rows)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def as_safetensors(published: Published, _schema: str) -> bytes:
    """The file as it lies on the disk: one tensor `vectors` [K, D], facts and digest as metadata."""
    return published.content


WRITERS: dict[str, Callable[[Published, str], bytes]] = {
    JSON: as_json,
    ARROW: as_arrow,
    SAFETENSORS: as_safetensors,
}
TAG_ENDS = {JSON: "", ARROW: ".arrow", SAFETENSORS: ".safetensors"}
RANGES = ("application/*", "*/*")


def etag(version: str, media: str) -> str:
    """The strong ETag of a table in a format; no two formats share one, for their bytes differ."""
    return f'"{version}{TAG_ENDS[media]}"'


def choose(accept: str | None) -> str:
    """The media type that answers an Accept header best; JSON where anything is welcome.

    As RFC 9110 has it, a type that is named counts by its own weight, also where a range would allow it.

    Raises:
        HTTPException: 406, when the header allows none of the three.
    """
    if not accept:
        return JSON
    weights: dict[str, float] = {}
    for part in accept.split(","):
        name, *parameters = (piece.strip().lower() for piece in part.split(";"))
        weights.setdefault(name, _weight(parameters))
    ranked = {media: _rank(media, weights) for media in WRITERS}
    best = max(ranked, key=lambda media: ranked[media])
    if ranked[best][0] <= 0:
        raise HTTPException(406, f"Accept: {accept!r} allows none of {', '.join(WRITERS)}; ask for one of them")
    return best


def _rank(media: str, weights: dict[str, float]) -> tuple[float, bool]:
    """The weight of a media type, and whether it was asked for by name."""
    if media in weights:
        return weights[media], True
    return next((weights[name] for name in RANGES if name in weights), 0.0), False


def _weight(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return min(max(float(value), 0.0), 1.0) if math.isfinite(float(value)) else 0.0
            except ValueError:
                return 0.0
    return 1.0
