"""`llactr train`: a bundle from a dataset, in this process, without any service."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.console import AsJson, CommandError, result, say
from services.cli.display import Display
from services.cli.options import Options, parse_options

if TYPE_CHECKING:
    from llactr_core.data.splits import Splits
    from llactr_core.schema import Schema
    from llactr_core.semantics.table import FieldTable


def train(
    data: Annotated[Path, typer.Option(help="A dataset file, or a folder of train, valid and test files.")],
    out: Annotated[Path, typer.Option(help="The bundle: a new directory.")],
    label: Annotated[str | None, typer.Option(help="The column of 0 and 1; the schema is then inferred.")] = None,
    schema: Annotated[Path | None, typer.Option(help="A schema as YAML.")] = None,
    backbone: Annotated[str, typer.Option(help="fm, deepfm, fwfm, fmfm, finalmlp or wukong.")] = "deepfm",
    enhancer: Annotated[str, typer.Option(help="llactr or none.")] = "llactr",
    table: Annotated[Path | None, typer.Option(help="A field table (.safetensors); without it one is made.")] = None,
    language_model: Annotated[str | None, typer.Option(help="What makes the field table.")] = None,
    options: Options = None,
    warm_start: Annotated[Path | None, typer.Option(help="A bundle to go on from, of the same fields.")] = None,
    read_test: Annotated[bool, typer.Option("--read-test", help="Measure the test split too.")] = False,
    as_json: AsJson = False,
) -> None:
    """Train a model and write it as a bundle. A killed run that is started again goes on where it was."""
    from llactr_core.training.options import TrainOptions
    from llactr_core.training.pipeline import train_bundle

    chosen = {**(parse_options(options) or {}), "backbone": backbone, "enhancer": enhancer}
    train_options = TrainOptions.parse(chosen)
    splits, read_schema = _dataset(data, label, schema)
    work = out.absolute().with_name(f".{out.name}.work")
    with Display() as display:
        fields = None
        if train_options.enhancer != "none":
            fields = _table(table, splits, read_schema, language_model, work, display)
        progress = display.progress(f"{backbone} + {enhancer}")
        bundle = train_bundle(
            splits,
            read_schema,
            fields,
            train_options,
            out,
            work,
            progress,
            read_test=read_test,
            start_from=warm_start,
        )
    _remove(work)
    for part in ("valid", "held_out", "test"):
        numbers = {n: v for n, v in bundle.metrics.get(part, {}).items() if isinstance(v, float)}
        if numbers:
            say(part + ": " + ", ".join(f"{name} {value:.4f}" for name, value in numbers.items()))
    say(f"bundle {out}, version {bundle.version}")
    result({"bundle": str(out), "version": bundle.version, "metrics": bundle.metrics}, as_json)


def _dataset(data: Path, label: str | None, schema: Path | None) -> "tuple[Splits, Schema]":
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


def _table(
    file: Path | None, splits: "Splits", schema: "Schema", model: str | None, work: Path, display: Display
) -> "FieldTable":
    from llactr_core.semantics.build import build_field_table
    from llactr_core.semantics.options import SsftOptions
    from llactr_core.semantics.sampling import draw_samples
    from llactr_core.semantics.table import FieldTable
    from llactr_core.semantics.weights import DEFAULT_MODEL

    if file is not None:
        return FieldTable.load(file)
    options = SsftOptions()
    samples = draw_samples(schema, splits.train.batches(), options.sam_num, options.seed)
    progress = display.progress("field semantics")
    return build_field_table(schema, samples, model or DEFAULT_MODEL, options, progress, work / "ssft")


def _remove(folder: Path) -> None:
    import shutil

    shutil.rmtree(folder, ignore_errors=True)
