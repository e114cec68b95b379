"""What `train` and `prove` begin with: the dataset with its schema, and what a language model says of both."""

from pathlib import Path
from typing import TYPE_CHECKING

from services.cli.console import CommandError
from services.cli.display import Display

if TYPE_CHECKING:
    from llactr_core.data.splits import Splits
    from llactr_core.schema import Schema
    from llactr_core.semantics.options import SsftOptions
    from llactr_core.semantics.semantics import Semantics


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
) -> "Semantics":
    """Tune a language model (unless the options skip it), and let it read the fields, and the values if asked.

    Where no field has values in words, the values are None.
    """
    from llactr_core.data.encoding import Encoder
    from llactr_core.semantics.build import build_field_table
    from llactr_core.semantics.sampling import draw_samples
    from llactr_core.semantics.semantics import Semantics
    from llactr_core.semantics.values.build import build_value_table
    from llactr_core.semantics.values.textual import textual_values
    from llactr_core.semantics.weights import DEFAULT_MODEL

    name, adapter = model or DEFAULT_MODEL, work / "adapter"
    samples = draw_samples(schema, splits.train.batches(), options.sam_num, options.seed)
    progress = display.progress("field semantics")
    fields = build_field_table(schema, samples, name, options, progress, work / "ssft", adapter)
    texts = textual_values(Encoder.fit(schema, splits.train.batches(schema.columns))) if with_values else {}
    if not texts:
        return Semantics(fields)
    tuned = adapter if adapter.exists() else None  # absent where the model was best as it came
    progress = display.progress(f"values of {', '.join(texts)}")
    return Semantics(fields, build_value_table(schema, texts, name, tuned, progress=progress))
