"""What `train` and `prove` begin with: the dataset with its schema, and what a language model says of both."""

import shutil
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from services.cli.console import CommandError
from services.cli.display import Display

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from llactr_core.data.read import Source
    from llactr_core.data.splits import Splits
    from llactr_core.enhancers.larr.options import LarrOptions
    from llactr_core.schema import Schema
    from llactr_core.semantics.options import SsftOptions
    from llactr_core.semantics.semantics import Semantics

    Texts = Mapping[str, Sequence[str]]


def dataset_of(data: Path, label: str | None, schema: Path | None) -> "tuple[Splits, Schema]":
    """A dataset and its schema: the given one, the one beside the data, or one that is inferred."""
    from llactr_core.data.splits import open_dataset
    from llactr_core.schema import Schema
    from services.cli.dataset_choice import DatasetChoice

    if schema is None:
        choice = DatasetChoice.of(data, label)
        return choice.splits(), choice.schema
    read = Schema.load(schema)
    if label is not None:
        read = Schema.parse({**read.model_dump(mode="json"), "label": label})
    if read.label is None:
        raise CommandError(f"the schema {schema} names no label; add it there, or give --label COLUMN")
    return open_dataset(data, read.label), read


def semantics_of(
    splits: "Splits",
    schema: "Schema",
    model: str | None,
    options: "SsftOptions",
    work: Path,
    display: Display,
    *,
    with_values: bool,
    more: "Sequence[Source]" = (),
    among: "Callable[[Texts], Texts]" = dict,
) -> "Semantics":
    """Tune a language model (unless the options skip it), and let it read the fields, and the values if asked.

    Where no field has values in words, the values are None. It is tuned on train; `more` are files whose values are
    read besides, and `among` chooses which of all values, by field, are read. The vectors lie in the folder `work`, so
    that a killed run does not read them again.
    """
    from llactr_core.data.encoding import Encoder
    from llactr_core.semantics.build import build_field_table
    from llactr_core.semantics.sampling import draw_samples
    from llactr_core.semantics.semantics import Semantics
    from llactr_core.semantics.values.build import build_value_table
    from llactr_core.semantics.values.table import ValueTable
    from llactr_core.semantics.values.textual import textual_values
    from llactr_core.semantics.weights import DEFAULT_MODEL

    name, adapter = model or DEFAULT_MODEL, work / "adapter"
    samples = draw_samples(schema, splits.train.batches(), options.sam_num, options.seed)
    progress = display.progress("field semantics")
    shutil.rmtree(adapter, ignore_errors=True)
    fields = build_field_table(schema, samples, name, options, progress, work / "ssft", adapter)
    texts = textual_values(Encoder.fit(schema, splits.train.batches(schema.columns))) if with_values else {}
    if not texts:
        return Semantics(fields)
    if more:
        batches = chain.from_iterable(source.batches(schema.columns) for source in (splits.train, *more))
        texts = {name: all_of for name, all_of in textual_values(Encoder.fit(schema, batches)).items() if name in texts}
    tuned = adapter if adapter.exists() else None  # absent where the model was best as it came
    progress, kept = display.progress(f"values of {', '.join(texts)}"), work / "values.safetensors"
    known = ValueTable.load(kept) if kept.exists() else None
    table = build_value_table(schema, among(texts), name, tuned, known=known, progress=progress)
    table.save(kept)
    return Semantics(fields, table)


def scenes_of(
    splits: "Splits", schema: "Schema", model: str | None, options: "LarrOptions", work: Path, display: Display
) -> "Semantics":
    """Stages 1 and 2 of LARR, and the vectors of the scene's values."""
    from llactr_core.data.encoding import Encoder
    from llactr_core.enhancers.larr.build import build_scene_table
    from llactr_core.semantics.semantics import Semantics
    from llactr_core.semantics.weights import DEFAULT_MODEL

    encoder = Encoder.fit(schema, splits.train.batches(schema.columns))
    progress = display.progress("scenes")
    name = model or DEFAULT_MODEL
    return Semantics(values=build_scene_table(encoder, splits.train, name, options, work, progress=progress))
