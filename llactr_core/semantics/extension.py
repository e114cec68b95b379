"""Fields that a table lacks, embedded by the model that made it: no new tuning, and the table says so."""

import hashlib
import json

import numpy as np

from llactr_core.errors import ArtifactError
from llactr_core.schema import Schema
from llactr_core.semantics.table import FieldTable, Vectors
from llactr_core.semantics.template import Template


def template_of(table: FieldTable) -> Template:
    """The template that a table's vectors were made with.

    Raises:
        ArtifactError: the table's provenance holds none.
    """
    content = table.provenance.get("template")
    if not isinstance(content, dict):
        raise ArtifactError(f"the field table {table.version[:12]} does not say its template; refresh the fields")
    return Template.from_json(content)


def missing_texts(table: FieldTable, schema: Schema) -> dict[str, str]:
    """Name -> text of the schema's fields that the table does not hold as the language model reads them today."""
    known = dict(zip(table.fields, table.provenance.get("field_texts", ()), strict=False))
    texts = dict(zip(schema.names, template_of(table).fields(schema), strict=True))
    return {name: text for name, text in texts.items() if known.get(name) != text}


def extend_table(table: FieldTable, schema: Schema, vectors: Vectors) -> FieldTable:
    """The table of the schema's K fields: the vectors that the table has, and those of the fields it lacked.

    `provenance` names the fields under `extended` (with those of earlier extensions that are still there) and the
    version that was extended under `extended_from`. The metrics stay those of the tuning.

    Args:
        table: what is extended.
        schema: the fields that the result holds, in order.
        vectors: float32 [len(missing_texts), D], in the order of `missing_texts`.

    Raises:
        ArtifactError: shapes do not fit.
    """
    missing = list(missing_texts(table, schema))
    if vectors.shape != (len(missing), table.vectors.shape[1]):
        raise ArtifactError(
            f"vectors {vectors.shape} were given for {len(missing)} fields of width {table.vectors.shape[1]}"
        )
    kept = {name: table.vectors[i] for i, name in enumerate(table.fields)}
    rows = {**kept, **dict(zip(missing, vectors, strict=True))}
    texts = template_of(table).fields(schema)
    recipe = hashlib.sha256(json.dumps(["extension", table.version, list(schema.names), list(texts)]).encode())
    earlier = [name for name in table.provenance.get("extended", ()) if name in schema.names]
    return FieldTable(
        fields=schema.names,
        vectors=np.stack([rows[name] for name in schema.names]),
        model=table.model,
        recipe=recipe.hexdigest(),
        provenance={
            **table.provenance,
            "schema": schema.name,
            "semantic_fingerprint": schema.semantic_fingerprint,
            "field_texts": list(texts),
            "extended": sorted({*earlier, *missing}, key=schema.names.index),
            "extended_from": table.version,
        },
        metrics=table.metrics,
    )
