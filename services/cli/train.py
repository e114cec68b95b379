"""`llactr train`: a bundle from a dataset, in this process, without any service."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.auto import Auto, check
from services.cli.console import AsJson, CommandError, result, say
from services.cli.display import Display
from services.cli.options import Options, parse_options
from services.cli.reading import dataset_of, scenes_of, semantics_of

if TYPE_CHECKING:
    from llactr_core.data.splits import Splits
    from llactr_core.schema import Schema
    from llactr_core.semantics.semantics import Semantics


def train(
    data: Annotated[Path, typer.Option(help="A dataset file, or a folder of train, valid and test files.")],
    out: Annotated[Path, typer.Option(help="The bundle: a new directory.")],
    label: Annotated[str | None, typer.Option(help="The column of 0 and 1; the schema is then inferred.")] = None,
    schema: Annotated[Path | None, typer.Option(help="A schema as YAML.")] = None,
    backbone: Annotated[
        str, typer.Option(help="fm, deepfm, fwfm, fmfm, finalmlp, wukong, autoint; with --auto also auto.")
    ] = "deepfm",
    enhancer: Annotated[str, typer.Option(help="llactr, larr, ctrl or none.")] = "llactr",
    table: Annotated[Path | None, typer.Option(help="A field table (.safetensors); without it one is made.")] = None,
    language_model: Annotated[str | None, typer.Option(help="What reads fields, values, scenes or rows.")] = None,
    values: Annotated[
        bool, typer.Option("--values", help="Let the model read the values of textual fields too.")
    ] = False,
    auto: Annotated[
        bool, typer.Option("--auto", help="Let a small proof on validation choose between plain, fields and values.")
    ] = False,
    minutes: Annotated[float, typer.Option(min=0.01, help="How long --auto may take, training included.")] = 15.0,
    options: Options = None,
    warm_start: Annotated[Path | None, typer.Option(help="A bundle to go on from, of the same fields.")] = None,
    read_test: Annotated[bool, typer.Option("--read-test", help="Measure the test split too.")] = False,
    as_json: AsJson = False,
) -> None:
    """Train a model and write it as a bundle. A killed run that is started again goes on where it was."""
    from llactr_core.semantics.semantics import Semantics
    from llactr_core.semantics.weights import DEFAULT_MODEL
    from llactr_core.training.options import TrainOptions
    from llactr_core.training.pipeline import train_bundle

    given = parse_options(options) or {}
    if auto:
        check(given, enhancer, table=table is not None, values=values, warm_start=warm_start is not None)
    else:
        train_options = TrainOptions.parse({**given, "backbone": backbone, "enhancer": enhancer})
    splits, read_schema = dataset_of(data, label, schema)
    work = out.absolute().with_name(f".{out.name}.work")
    with Display() as display:
        semantics, lineage = Semantics(), None
        if auto:
            asked = Auto(minutes, backbone, language_model, given)
            semantics, train_options, lineage = asked.choose(splits, read_schema, work, display)
        elif train_options.enhancer == "larr":
            if table is not None or values:
                raise CommandError("enhancer 'larr' reads the scene's values itself; leave --table and --values out")
            semantics = scenes_of(splits, read_schema, language_model, train_options.larr, work / "larr", display)
        elif train_options.enhancer == "ctrl":
            if table is not None or values:
                raise CommandError("enhancer 'ctrl' reads whole rows; leave --table and --values out")
        elif train_options.enhancer != "none":
            semantics = _semantics(table, splits, read_schema, language_model, values, work, display)
        progress = display.progress(f"{train_options.backbone} + {train_options.enhancer}")
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
            language_model=language_model or DEFAULT_MODEL,
            auto=lineage,
        )
    _remove(work)
    for part in ("valid", "held_out", "test"):
        numbers = {n: v for n, v in bundle.metrics.get(part, {}).items() if isinstance(v, float)}
        if numbers:
            say(part + ": " + ", ".join(f"{name} {value:.4f}" for name, value in numbers.items()))
    say(f"bundle {out}, version {bundle.version}")
    told = {"bundle": str(out), "version": bundle.version, "metrics": bundle.metrics}
    result(told if lineage is None else {**told, "auto": lineage}, as_json)


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
