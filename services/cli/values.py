"""`llactr models values`: values that appeared after training."""

from dataclasses import asdict
from typing import Annotated

import typer

from services.cli.console import AsJson, CommandError, result, say, table
from services.cli.place import services

app = typer.Typer(help="Values that a version knows beyond its training.", no_args_is_help=True)
ModelName = Annotated[str, typer.Argument(metavar="MODEL", help="The model's name.")]
Version = Annotated[str, typer.Option(help="A version or an alias.")]


@app.command()
def add(
    model: ModelName,
    value: Annotated[list[str], typer.Option(help="FIELD=VALUE, once for each value.")],
    version: Version = "champion",
    as_json: AsJson = False,
) -> None:
    """Let the LLM service read values and the version know them, without training it again."""
    values: dict[str, list[object]] = {}
    for one in value:
        name, given, text = one.partition("=")
        if not (name and given):
            raise CommandError(f"{one!r} is not understood; give FIELD=VALUE, as in 'title=Toy Story 5 (2026)'")
        values.setdefault(name, []).append(text)
    with services() as client:
        added = client.add_values(model, values, version=version)
    rows = []
    for name, found in added.fields.items():
        rows += [(name, text, "added") for text in found.added]
        rows += [(name, text, "known") for text in found.known]
        rows += [(name, text, f"refused: {reason}") for text, reason in found.refused.items()]
    say(table(("field", "value", "outcome"), rows))
    result({"model": model, **asdict(added)}, as_json)


@app.command("list")
def list_values(
    model: ModelName,
    version: Version = "champion",
    limit: Annotated[int, typer.Option(min=1, max=1000, help="The most to list.")] = 100,
    after: Annotated[int, typer.Option(min=0, help="List those behind this number.")] = 0,
    as_json: AsJson = False,
) -> None:
    """The values that were added to a version."""
    with services() as client:
        found = client.later_values(model, version=version, limit=limit, after=after)
    say(
        table(
            ("number", "field", "value", "source", "at"),
            [(v.number, v.field, v.value, v.source, v.at) for v in found.values],
        )
    )
    say(f"{found.rows} values, overlay {found.overlay}")
    result({"model": model, **asdict(found)}, as_json)


@app.command()
def drop(model: ModelName, version: Version = "champion", as_json: AsJson = False) -> None:
    """Forget the values that were added to a version."""
    with services() as client:
        dropped = client.drop_values(model, version=version)
    say(f"{dropped} values dropped")
    result({"model": model, "dropped": dropped}, as_json)
