"""From a schema and samples to a field table: tune, embed, record where it comes from."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from llactr_core import __version__
from llactr_core.files import file_digest
from llactr_core.progress import Progress, ProgressCallback, silent
from llactr_core.schema import Schema
from llactr_core.semantics.options import SsftOptions
from llactr_core.semantics.recipe import recipe_of
from llactr_core.semantics.sampling import clean_samples
from llactr_core.semantics.table import FieldTable, Vectors
from llactr_core.semantics.template import default_template
from llactr_core.semantics.tuned import TunedModel
from llactr_core.semantics.tuned_model import load_tuned, tune_model
from llactr_core.semantics.tuning.adapter import WEIGHTS
from llactr_core.semantics.weights import model_digest, model_label, resolve_model

__all__ = ["build_field_table", "embed_fields", "field_table", "load_tuned", "recipe_of", "ssft_facts", "tune_model"]


def build_field_table(
    schema: Schema,
    samples: Mapping[str, Sequence[str]],
    model: str,
    options: SsftOptions,
    progress: ProgressCallback = silent,
    checkpoint_dir: Path | None = None,
    adapter_dir: Path | None = None,
) -> FieldTable:
    """Tune the language model to the fields (unless `options.skip`), embed the fields with it: vectors [K, D].

    With `checkpoint_dir` a killed build with the same recipe goes on where it was. With `adapter_dir` the chosen
    adapter is written there in PEFT's format, with its canary; where the untuned model was the best, nothing is. What
    `progress` raises ends the build.

    Raises:
        NotFoundError, ArtifactError: the model is not here, or damaged.
        OptionError: the model cannot do what the options ask.
        SchemaError, DataError: samples for unknown fields, or no samples at all.
        TooLargeError: a field's text has more tokens than the model reads.
    """
    with TemporaryDirectory(prefix="llactr-adapter-") as scratch:
        tuned = tune_model(schema, samples, model, options, adapter_dir or Path(scratch), progress, checkpoint_dir)
        progress(Progress("embed fields", 1.0))
        vectors = embed_fields(schema, model, tuned.adapter, options.device)
        recipe, made_with = recipe_of(schema, samples, model, options), ssft_facts(schema, samples, options)
        return field_table(schema, model, recipe, made_with, tuned, vectors)


def ssft_facts(schema: Schema, samples: Mapping[str, Sequence[str]], options: SsftOptions) -> dict[str, Any]:
    """What a field table says of the SSFT that it was made with: the options, and how many samples of each field."""
    drawn = clean_samples(schema, samples, options.sam_num, options.seed)
    return {
        "options": options.model_dump(mode="json"),
        "samples": {name: len(values) for name, values in drawn.items()},
    }


def field_table(
    schema: Schema,
    model: str,
    recipe: str,
    made_with: Mapping[str, Any],
    tuned: TunedModel,
    vectors: Vectors,
    engine: str = "transformers",
) -> FieldTable:
    """The table of vectors float32 [K, D] that an engine made of the fields' texts, with where they come from.

    Args:
        schema: whose fields they are.
        model: the language model's name or folder.
        recipe: a digest of all that the table follows from.
        made_with: what the provenance says of the tuning.
        tuned: what the tuning left.
        vectors: of the fields, in the schema's order.
        engine: what made them.

    Raises:
        ArtifactError: the vectors' shape, type or finiteness is wrong.
    """
    template = default_template(resolve_model(model))
    return FieldTable(
        fields=schema.names,
        vectors=vectors,
        model=model_label(model),
        recipe=recipe,
        provenance={
            "schema": schema.name,
            "semantic_fingerprint": schema.semantic_fingerprint,
            "model_digest": model_digest(resolve_model(model)),
            "adapter_digest": file_digest(tuned.adapter / WEIGHTS) if tuned.adapter else None,
            "template": template.to_json(),
            "field_texts": list(template.fields(schema)),
            "engine": engine,
            **made_with,
            "code_version": __version__,
        },
        metrics=dict(tuned.metrics),
    )


def embed_fields(schema: Schema, model: str, adapter_dir: Path | None = None, device: str = "auto") -> Vectors:
    """The field vectors float32 [K, D] of a model with a saved adapter, or of the untuned model.

    Raises:
        NotFoundError, ArtifactError: as `load_tuned`.
        TooLargeError: a field's text has more tokens than the model reads.
    """
    encoder = load_tuned(model, adapter_dir, device)
    return encoder.embed_tokens(encoder.tokenize_whole(encoder.template.fields(schema)))
