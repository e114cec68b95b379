"""`llactr train`: a bundle from a dataset, in this process, without any service."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.console import AsJson, CommandError, result, say
from services.cli.display import Display
from services.cli.options import Options, parse_options
from services.cli.reading import dataset_of, semantics_of

if TYPE_CHECKING:
    from llactr_core.data.splits import Splits
    from llactr_core.schema import Schema
    from llactr_core.semantics.semantics import Semantics


def train(
    data: Annotated[Path, typer.Option(help="A dataset file, or a folder of train, valid and test files.")],
    out: Annotated[Path, typer.Option(help="The bundle: a new directory.")],
    label: Annotated[str | None, typer.Option(help="The column of 0 and 1; the schema is then inferred.")] = None,
    schema: Annotated[Path | None, typer.Option(help="A schema as YAML.")] = None,
    backbone: Annotated[str, typer.Option(help="fm, deepfm, fwfm, fmfm, finalmlp or wukong.")] = "deepfm",
    enhancer: Annotated[str, typer.Option(help="llactr or none.")] = "llactr",
    table: Annotated[Path | None, typer.Option(help="A field table (.safetensors); without it one is made.")] = None,
    language_model: Annotated[str | None, typer.Option(help="What makes the field table.")] = None,
    values: Annotated[
        bool, typer.Option("--values", help="Let the model read the values of textual fields too.")
    ] = False,
    options: Options = None,
    warm_start: Annotated[Path | None, typer.Option(help="A bundle to go on from, of the same fields.")] = None,
    read_test: Annotated[bool, typer.Option("--read-test", help="Measure the test split too.")] = False,
    as_json: AsJson = False,
) -> None:
    """Train a model and write it as a bundle. A killed run that is started again goes on where it was."""
    from llactr_core.semantics.semantics import Semantics
    from llactr_core.training.options import TrainOptions
    from llactr_core.training.pipeline import train_bundle

    chosen = {**(parse_options(options) or {}), "backbone": backbone, "enhancer": enhancer}
    train_options = TrainOptions.parse(chosen)
    splits, read_schema = dataset_of(data, label, schema)
    work = out.absolute().with_name(f".{out.name}.work")
    with Display() as display:
        semantics = Semantics()
        if train_options.enhancer != "none":
            semantics = _semantics(table, splits, read_schema, language_model, values, work, display)
        progress = display.progress(f"{backbone} + {enhancer}")
        bundle = train_bundle(
            splits,
            read_schema,
            semantics,
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


def _semantics(
    file: Path | None,
    splits: "Splits",
    schema: "Schema",
    model: str | None,
    with_values: bool,
    work: Path,
    display: Display,
) -> "Semantics":
    from llactr_core.semantics.options import SsftOptions
    from llactr_core.semantics.semantics import Semantics
    from llactr_core.semantics.table import FieldTable

    if file is not None:
        if with_values:
            raise CommandError("--values reads them with the model that it tunes; give --values or --table, not both")
        return Semantics(FieldTable.load(file))
    read = semantics_of(splits, schema, model, SsftOptions(), work, display, with_values=with_values)
    if with_values and read.values is None:
        raise CommandError("no field has values in words; mark one with 'textual: true' in a schema, or leave --values")
    return read


def _remove(folder: Path) -> None:
    import shutil

    shutil.rmtree(folder, ignore_errors=True)
