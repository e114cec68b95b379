"""From a schema and samples to a field table: tune, embed, record where it comes from."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from llactr_core import __version__
from llactr_core.progress import Progress, ProgressCallback, silent
from llactr_core.schema import Schema
from llactr_core.semantics.encoder import TextEncoder
from llactr_core.semantics.options import SsftOptions
from llactr_core.semantics.recipe import recipe_of
from llactr_core.semantics.sampling import clean_samples
from llactr_core.semantics.table import FieldTable, Vectors
from llactr_core.semantics.tuning.adapter import adapter_digest, load_adapter, save_adapter
from llactr_core.semantics.tuning.checkpoint import checkpoint_path
from llactr_core.semantics.tuning.ssft import tune
from llactr_core.semantics.weights import model_digest, model_label, resolve_model

__all__ = ["build_field_table", "embed_fields", "load_tuned", "recipe_of"]


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
    adapter is written there in PEFT's format. What `progress` raises ends the build.

    Raises:
        NotFoundError, ArtifactError: the model is not here, or damaged.
        OptionError: the model cannot do what the options ask.
        SchemaError, DataError: samples for unknown fields, or no samples at all.
    """
    recipe = recipe_of(schema, samples, model, options)
    encoder = TextEncoder.load(model, device=options.device)
    drawn = clean_samples(schema, samples, options.sam_num, options.seed)
    metrics: dict[str, Any] = {}
    adapter = None
    if not options.skip:
        checkpoint = checkpoint_path(checkpoint_dir, recipe) if checkpoint_dir else None
        tuned = tune(encoder, schema, drawn, options, progress, checkpoint, recipe)
        metrics, adapter = tuned.metrics, adapter_digest(tuned.adapter)
        if adapter_dir:
            save_adapter(adapter_dir, tuned.adapter, options, tuned.targets)
    progress(Progress("embed fields", 1.0))
    return FieldTable(
        fields=schema.names,
        vectors=encoder.embed(encoder.template.fields(schema)),
        model=model_label(model),
        recipe=recipe,
        provenance={
            "schema": schema.name,
            "semantic_fingerprint": schema.semantic_fingerprint,
            "model_digest": model_digest(resolve_model(model)),
            "adapter_digest": adapter,
            "template": encoder.template.to_json(),
            "field_texts": list(encoder.template.fields(schema)),
            "options": options.model_dump(mode="json"),
            "samples": {name: len(values) for name, values in drawn.items()},
            "code_version": __version__,
        },
        metrics=metrics,
    )


def load_tuned(model: str, adapter_dir: Path | None = None, device: str = "auto") -> TextEncoder:
    """The encoder of a model, with a saved adapter in it where one is given.

    Raises:
        NotFoundError, ArtifactError: the model or the adapter is not here, is damaged, or they do not fit.
    """
    encoder = TextEncoder.load(model, device=device)
    if adapter_dir:
        load_adapter(encoder, adapter_dir)
    return encoder


def embed_fields(schema: Schema, model: str, adapter_dir: Path | None = None, device: str = "auto") -> Vectors:
    """The field vectors float32 [K, D] of a model with a saved adapter, or of the untuned model.

    Raises:
        NotFoundError, ArtifactError: as `load_tuned`.
    """
    encoder = load_tuned(model, adapter_dir, device)
    return encoder.embed(encoder.template.fields(schema))
