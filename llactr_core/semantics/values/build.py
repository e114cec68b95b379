"""From the values of textual fields to a value table: each distinct text is read once."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from pathlib import Path

import numpy as np

from llactr_core.files import file_digest
from llactr_core.progress import Progress, ProgressCallback, silent
from llactr_core.schema import Schema
from llactr_core.semantics.table import Vectors
from llactr_core.semantics.tensor_file import as_json
from llactr_core.semantics.tuned_model import load_tuned
from llactr_core.semantics.tuning.adapter import WEIGHTS
from llactr_core.semantics.values.table import ValueTable
from llactr_core.semantics.weights import model_digest, model_label, resolve_model

Embed = Callable[[Sequence[str]], Vectors]
AT_ONCE = 2048  # texts between two reports of progress


def value_text(field_text: str, value: str) -> str:
    """What the language model reads of a value: the field's text tells what kind of thing the value is."""
    return f"{field_text}: {value}"


def build_value_table(
    schema: Schema,
    values: Mapping[str, Sequence[str]],
    model: str,
    adapter: Path | None = None,
    *,
    device: str = "auto",
    known: ValueTable | None = None,
    progress: ProgressCallback = silent,
) -> ValueTable:
    """Embed the values of some fields with a model, tuned by an adapter where one is given.

    Args:
        schema: names and describes the fields.
        values: canonical values by field (`textual_values`).
        model: a language model's name or folder.
        adapter: the folder of a saved adapter.
        device: "auto", "cpu" or "cuda".
        known: a former table; of equal texts read by the same model it gives the vectors.
        progress: is told how many texts are done; what it raises ends the work.

    Raises:
        NotFoundError, ArtifactError: the model or adapter is not here, or damaged.
    """
    encoder = load_tuned(model, adapter, device)
    parts = [model_digest(resolve_model(model)), "" if adapter is None else file_digest(adapter / WEIGHTS)]
    parts += [as_json(encoder.template.to_json()), value_text("FIELD", "VALUE")]
    recipe = hashlib.sha256(as_json(parts).encode()).hexdigest()

    def embed(texts: Sequence[str]) -> Vectors:
        return unit(encoder.embed_tokens(encoder.tokenize(texts)))

    return table_of(schema, values, embed, model_label(model), recipe, known=known, progress=progress)


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
    described = {field.name: field.text for field in schema.fields}
    texts = {name: [value_text(described[name], value) for value in chosen] for name, chosen in values.items()}
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


def _known_vectors(described: Mapping[str, str], known: ValueTable) -> dict[str, Vectors]:
    found: dict[str, Vectors] = {}
    for name in known.fields:
        values, vectors = known.of(name)
        if name in described:
            texts = (value_text(described[name], value) for value in values)
            found |= dict(zip(texts, vectors, strict=True))
    return found
