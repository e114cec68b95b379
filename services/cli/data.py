"""`llactr data`: public datasets in the form that everything else reads."""

from pathlib import Path
from typing import Annotated

import typer

from services.cli.console import AsJson, result, say
from services.cli.display import Display

app = typer.Typer(help="Datasets: prepare public ones from their files; the sample that ships.", no_args_is_help=True)


@app.command()
def prepare(
    name: Annotated[str, typer.Argument(help="movielens-1m, amazon-2023, criteo, avazu or bank-marketing.")],
    source: Annotated[Path, typer.Option("--from", help="The folder (or file) that you downloaded.")],
    out: Annotated[Path, typer.Option(help="The folder for train, valid and test.parquet and schema.yaml.")],
    as_json: AsJson = False,
) -> None:
    """Turn the published files of a dataset into train, valid and test parts with a schema."""
    from llactr_core import datasets

    with Display() as display:
        prepared = datasets.prepare(name, source, out, display.progress(name))
    say(", ".join(f"{part}: {count} rows" for part, count in prepared.rows.items()))
    say(f"written to {prepared.path}; train on it with `make run DATA={prepared.path}`")
    result({"path": str(prepared.path), "schema": str(prepared.schema), "rows": prepared.rows}, as_json)


@app.command()
def simulate(
    out: Annotated[Path, typer.Option(help="The folder for train, valid and test.parquet and schema.yaml.")],
    rows: Annotated[int, typer.Option(help="Of all parts together.")] = 60_000,
    seed: Annotated[int, typer.Option(help="Equal seeds give equal files.")] = 1,
    as_json: AsJson = False,
) -> None:
    """Make a click log of food delivery with scenes (time, place, weather, device) whose effect is known."""
    from llactr_core.datasets.takeaway import simulate_takeaway

    with Display() as display:
        made = simulate_takeaway(out, rows, seed, display.progress("takeaway"))
    say(", ".join(f"{part}: {count} rows" for part, count in made.rows.items()))
    say(f"written to {made.path}; try `llactr train --data {made.path} --enhancer larr --out BUNDLE`")
    result({"path": str(made.path), "schema": str(made.schema), "rows": made.rows}, as_json)


@app.command()
def sample(
    out: Annotated[Path | None, typer.Option(help="Copy it to this folder.")] = None, as_json: AsJson = False
) -> None:
    """Where the sample lies that ships with LLaCTR (UCI Bank Marketing), or a copy of it."""
    import shutil

    from llactr_core.datasets import sample_dataset

    folder = sample_dataset()
    if out is not None:
        shutil.copytree(folder, out, dirs_exist_ok=True)
        folder = out
    say(f"{folder}: {', '.join(sorted(file.name for file in folder.iterdir()))}")
    result({"path": str(folder), "schema": str(folder / "schema.yaml")}, as_json)
