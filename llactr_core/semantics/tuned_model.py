"""A tuned language model: how it comes to be, what is kept of it, how it is loaded again."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

from peft import PeftModel

from llactr_core.progress import ProgressCallback, silent
from llactr_core.schema import Schema
from llactr_core.semantics.canary import Canary, canary_texts
from llactr_core.semantics.encoder import TextEncoder
from llactr_core.semantics.head import Head
from llactr_core.semantics.options import SsftOptions
from llactr_core.semantics.recipe import recipe_of
from llactr_core.semantics.sampling import clean_samples
from llactr_core.semantics.template import candidates, default_template
from llactr_core.semantics.tokens import load_tokenizer, tokenize_whole
from llactr_core.semantics.tuned import TunedModel
from llactr_core.semantics.tuning.adapter import load_adapter, save_adapter
from llactr_core.semantics.tuning.checkpoint import checkpoint_path
from llactr_core.semantics.tuning.launch import run_tuning
from llactr_core.semantics.weights import resolve_model


def tune_model(
    schema: Schema,
    samples: Mapping[str, Sequence[str]],
    model: str,
    options: SsftOptions,
    adapter_dir: Path,
    progress: ProgressCallback = silent,
    checkpoint_dir: Path | None = None,
) -> TunedModel:
    """Tune the language model to the fields; the adapter and its canary are written to `adapter_dir` (PEFT's format).

    With `checkpoint_dir` a killed tuning with the same recipe goes on where it was. What `progress` raises ends the
    tuning.

    Raises:
        NotFoundError, ArtifactError: the model is not here, or damaged.
        OptionError: the model cannot do what the options ask.
        SchemaError, DataError: samples for unknown fields, or no samples at all.
        TooLargeError: a field's text has more tokens than the model reads.
    """
    if options.skip:
        return TunedModel()
    _require_readable(schema, model)
    recipe = recipe_of(schema, samples, model, options)
    drawn = clean_samples(schema, samples, options.sam_num, options.seed)
    checkpoint = checkpoint_path(checkpoint_dir, recipe) if checkpoint_dir else None
    tuned = run_tuning(model, schema, drawn, options, progress, checkpoint, recipe)
    if not tuned.metrics["best_epoch"]:
        return TunedModel(None, tuned.metrics)
    save_adapter(adapter_dir, tuned.adapter, options, tuned.targets)
    canary_of(_texts(schema, drawn, model, options), model, options.device, adapter_dir).save(adapter_dir)
    return TunedModel(adapter_dir, tuned.metrics)


def load_tuned(model: str, adapter_dir: Path | None = None, device: str = "auto") -> TextEncoder:
    """The encoder of a model, with a saved adapter and its head in it where one is given; its canary is checked.

    Raises:
        NotFoundError, ArtifactError: the model or the adapter is not here, is damaged, or they do not fit.
    """
    encoder = TextEncoder.load(model, device=device)
    if adapter_dir:
        canary = Canary.load(adapter_dir)
        base = encoder.embed(canary.texts)
        load_adapter(encoder, adapter_dir)
        canary.check(base, encoder.embed(canary.texts))
        encoder.head = Head.load(adapter_dir)
    return encoder


def canary_of(texts: tuple[str, ...], model: str, device: str, adapter: Path) -> Canary:
    """The references of a saved adapter, read by PEFT itself into a model that was loaded anew; without its head."""
    encoder = TextEncoder.load(model, device=device)
    base = encoder.embed(texts)
    with warnings.catch_warnings():
        # PEFT asks transformers 5 for a property under its old name.
        warnings.simplefilter("ignore", FutureWarning)
        PeftModel.from_pretrained(encoder.model, str(adapter)).eval()  # changes the model in place
    return Canary(texts, base, encoder.embed(texts))


def _require_readable(schema: Schema, model: str) -> None:
    path = resolve_model(model)
    template = default_template(path)
    tokenize_whole(load_tokenizer(path), template, template.fields(schema))


def _texts(schema: Schema, samples: Mapping[str, Sequence[str]], model: str, options: SsftOptions) -> tuple[str, ...]:
    """What a canary of a tuning to the fields is made of."""
    template = default_template(resolve_model(model))
    values = sorted({value for drawn in samples.values() for value in drawn})
    names = candidates(schema)
    prompts = [template.prompt(value, names, options.max_chars) for value in values]
    return canary_texts(template.fields(schema), prompts)
