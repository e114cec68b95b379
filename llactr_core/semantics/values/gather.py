"""From texts of values to a value table, by any function that embeds them: each distinct text is read once."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from itertools import chain

import numpy as np

from llactr_core.progress import Progress, ProgressCallback, silent
from llactr_core.schema import Field, Schema
from llactr_core.semantics.table import Vectors
from llactr_core.semantics.tensor_file import as_json
from llactr_core.semantics.values.table import ValueTable

Embed = Callable[[Sequence[str]], Vectors]
AT_ONCE = 2048  # texts between two reports of progress
LONGEST = 400  # characters of a value that are read


def value_text(field_text: str, value: str) -> str:
    """What the language model reads of a value: the field's text tells what kind of thing the value is."""
    return f"{field_text}: {value[:LONGEST]}"


def text_of(field: Field, value: str) -> str:
    """What the language model reads of a field's canonical value; an hour is said to be one.

    >>> text_of(Field(name="at", source="clicked_at", part="hour"), "5")
    "at: 5 o'clock"
    """
    return value_text(field.text, f"{value} o'clock" if field.part == "hour" else value)


def recipe_of(made_by: Sequence[str]) -> str:
    """How vectors of values are made, by what reads them (a field table's version, or digests): a content hash."""
    return hashlib.sha256(as_json([*made_by, value_text("FIELD", "VALUE")]).encode()).hexdigest()


def table_of(
    schema: Schema,
    values: Mapping[str, Sequence[str]],
    embed: Embed,
    model: str,
    recipe: str,
    *,
    known: ValueTable | None = None,
    progress: ProgressCallback = silent,
) -> ValueTable:
    """The value table by any function from texts to unit vectors float32 [n, D]; it is asked once for each new text."""
    described = {field.name: field for field in schema.fields}
    texts = {name: [text_of(described[name], value) for value in chosen] for name, chosen in values.items()}
    vectors = _known_vectors(described, known) if known is not None and known.recipe == recipe else {}
    new = [text for text in dict.fromkeys(chain.from_iterable(texts.values())) if text not in vectors]
    for start in range(0, len(new), AT_ONCE):
        progress(Progress(f"embedding values, {start:,} of {len(new):,}", start / len(new)))
        part = new[start : start + AT_ONCE]
        vectors |= dict(zip(part, embed(part), strict=True))
    rows = [vectors[text] for text in chain.from_iterable(texts.values())]
    width = len(rows[0]) if rows else 0
    return ValueTable(
        fields=tuple(texts),
        values=tuple(tuple(chosen) for chosen in values.values()),
        vectors=np.stack(rows) if rows else np.empty((0, width), np.float32),
        model=model,
        recipe=recipe,
    )


def unit(vectors: Vectors) -> Vectors:
    """Vectors [n, D] of length 1; a zero vector stays zero."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.where(norms > 0, norms, 1)).astype(np.float32)


def _known_vectors(described: Mapping[str, Field], known: ValueTable) -> dict[str, Vectors]:
    found: dict[str, Vectors] = {}
    for name in known.fields:
        values, vectors = known.of(name)
        if name in described:
            texts = (text_of(described[name], value) for value in values)
            found |= dict(zip(texts, vectors, strict=True))
    return found
