"""`llactr fields`: the field semantics at the LLM service."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from services.cli.console import AsJson, result, say, table
from services.cli.jobs import started
from services.cli.options import Options, Wait, dataset_for_service, parse_options
from services.cli.place import services

app = typer.Typer(help="Field semantics: tune and embed them, look at them, roll back.", no_args_is_help=True)
SchemaName = Annotated[str, typer.Argument(metavar="SCHEMA", help="The schema's name at the LLM service.")]


@app.command()
def register(file: Annotated[Path, typer.Argument(help="A schema as YAML.")], as_json: AsJson = False) -> None:
    """Make a schema known to the LLM service."""
    from llactr_core.schema import Schema

    schema = Schema.load(file)
    with services() as client:
        info = client.register_schema(schema.name, [field.model_dump(mode="json") for field in schema.fields])
    say(f"{info.name}: {'registered' if info.created else 'known already'}, {info.fingerprint[:12]}")
    if info.extension is not None:
        say(
            f"job {info.extension.id} embeds the fields that the current table lacks; "
            f"follow it with `llactr jobs watch {info.extension.id}`"
        )
    result(asdict(info), as_json)


@app.command()
def refresh(
    schema: SchemaName,
    dataset: Annotated[
        str | None, typer.Option(help="The data that sample values are drawn from: a path or a URL.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="The language model; by default the service's.")] = None,
    ssft: Options = None,
    wait: Wait = True,
    as_json: AsJson = False,
) -> None:
    """Tune the language model to the fields, embed them, publish the table."""
    with services() as client:
        answer = client.refresh_fields(
            schema,
            dataset=None if dataset is None else dataset_for_service(dataset),
            model=model,
            ssft=parse_options(ssft),
        )
        if answer.job is not None:
            started(client, answer.job, wait=wait, as_json=as_json)
            return
    say(f"an equal table exists: version {answer.version}")
    result({"schema": schema, "version": answer.version, "reused": True}, as_json)


@app.command()
def show(
    schema: SchemaName,
    version: Annotated[str | None, typer.Option(help="A version or alias; by default the current one.")] = None,
    as_json: AsJson = False,
) -> None:
    """A field table: its version, and for every field the nearest other one."""
    with services() as client:
        found = client.fields(schema, version)
    near = [_nearest(number, found.vectors) for number in range(len(found.fields))]
    rows = [
        (name, found.fields[other], f"{cosine:.3f}") for name, (other, cosine) in zip(found.fields, near, strict=True)
    ]
    say(f"{found.schema} {found.version}\nmodel {found.model}, D = {len(found.vectors[0])}\n")
    say(table(("field", "nearest", "cosine"), rows))
    result({**asdict(found), "vectors": [list(vector) for vector in found.vectors]}, as_json)


@app.command()
def versions(schema: SchemaName, as_json: AsJson = False) -> None:
    """All versions of a field table, with their aliases."""
    with services() as client:
        found = client.field_versions(schema)
    say(table(("version", "created", "aliases"), [(v.version, v.created_at, ", ".join(v.aliases)) for v in found]))
    result({"versions": [asdict(entry) for entry in found]}, as_json)


@app.command()
def alias(
    schema: SchemaName,
    name: Annotated[str, typer.Argument(help="The alias, such as current.")],
    version: Annotated[str, typer.Argument(help="The version, or another alias.")],
    as_json: AsJson = False,
) -> None:
    """Point an alias at a version; this is also how to roll back."""
    with services() as client:
        moved = client.set_field_alias(schema, name, version)
    say(f"{schema}: {moved.alias} -> {moved.version} (before: {moved.previous or 'none'})")
    result(asdict(moved), as_json)


def _nearest(number: int, vectors: tuple[tuple[float, ...], ...]) -> tuple[int, float]:
    others = [(_cosine(vectors[number], other), i) for i, other in enumerate(vectors) if i != number]
    if not others:
        return number, 1.0
    cosine, nearest = max(others)
    return nearest, cosine


def _cosine(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    norms = (sum(x * x for x in a) * sum(y * y for y in b)) ** 0.5
    return sum(x * y for x, y in zip(a, b, strict=True)) / norms if norms else 0.0
