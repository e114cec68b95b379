"""From the values of textual fields to a value table, by a language model in this process."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from llactr_core.files import file_digest
from llactr_core.progress import ProgressCallback, silent
from llactr_core.schema import Schema
from llactr_core.semantics.table import Vectors
from llactr_core.semantics.tensor_file import as_json
from llactr_core.semantics.tuned_model import load_tuned
from llactr_core.semantics.tuning.adapter import WEIGHTS
from llactr_core.semantics.values.gather import table_of, unit, value_text
from llactr_core.semantics.values.table import ValueTable
from llactr_core.semantics.weights import model_digest, model_label, resolve_model


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
