"""`llactr schema`: propose a schema from a file, and show one."""

from pathlib import Path
from typing import Annotated

import typer

from services.cli.console import AsJson, result, say, table

app = typer.Typer(
    help="Schemas: which fields a row has and what the language model reads of them.", no_args_is_help=True
)


@app.command()
def infer(
    file: Annotated[Path, typer.Argument(help="A dataset: a CSV, JSONL or Parquet file, or a folder of splits.")],
    label: Annotated[str, typer.Option(help="The column of 0 and 1.")],
    out: Annotated[Path | None, typer.Option(help="Write the schema to this YAML file, for editing.")] = None,
    name: Annotated[str | None, typer.Option(help="The schema's name; by default that of the file.")] = None,
    as_json: AsJson = False,
) -> None:
    """Propose a schema from the data and print the reason for each choice."""
    from llactr_core.data.infer import infer_schema
    from llactr_core.data.splits import open_dataset
    from services.cli.dataset_choice import name_of

    source = open_dataset(file, label).train
    inference = infer_schema(source, label, name or name_of(file.absolute()))
    kinds: dict[str, list[str]] = {}
    for field in inference.schema.fields:
        kinds.setdefault(field.column, []).append(field.kind.value)
    rows = [(column, ", ".join(kinds.get(column, ["left out"])), why) for column, why in inference.reasons.items()]
    say(table(("column", "kind", "why"), rows))
    if out is not None:
        inference.schema.save(out)
        say(f"written to {out}; edit it there, the descriptions above all")
    schema = inference.schema.model_dump(mode="json", exclude_defaults=True)
    result({"schema": schema, "reasons": inference.reasons, "out": None if out is None else str(out)}, as_json)


@app.command()
def show(file: Annotated[Path, typer.Argument(help="A schema as YAML.")], as_json: AsJson = False) -> None:
    """Check a schema file and print its fields as the language model reads them."""
    from llactr_core.schema import Schema

    schema = Schema.load(file)
    rows = [(field.name, field.kind.value, field.text) for field in schema.fields]
    say(f"{schema.name}: {len(schema.fields)} fields, label {schema.label or '(none)'}, {schema.fingerprint[:12]}\n")
    say(table(("field", "kind", "text"), rows))
    content = schema.model_dump(mode="json")
    result({"schema": content, "fingerprint": schema.fingerprint}, as_json)
