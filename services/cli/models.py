"""`llactr models`: the registry of the CTR service."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli import traffic, values
from services.cli.console import AsJson, result, say, table
from services.cli.jobs import started
from services.cli.options import Options, Wait, dataset_for_service, parse_options
from services.cli.place import services

if TYPE_CHECKING:
    from llactr_client import Alias

app = typer.Typer(help="Models: versions, training at the service, promotion, roll-back.", no_args_is_help=True)
app.add_typer(traffic.app, name="traffic")
app.add_typer(values.app, name="values")
Force = Annotated[bool, typer.Option("--force", help="Also against the gate's refusal; needs an admin's key.")]
ModelName = Annotated[str, typer.Argument(metavar="MODEL", help="The model's name.")]


@app.command("list")
def list_models(as_json: AsJson = False) -> None:
    """All models with their aliases."""
    with services() as client:
        found = client.models()
    rows = [
        (m.name, len(m.versions), ", ".join(f"{a} = {v[:12]}" for a, v in sorted(m.aliases.items()))) for m in found
    ]
    say(table(("model", "versions", "aliases"), rows))
    result({"models": [asdict(model) for model in found]}, as_json)


@app.command()
def versions(model: ModelName, as_json: AsJson = False) -> None:
    """The versions of a model, with validation metrics."""
    with services() as client:
        found = client.model_versions(model)
    rows = []
    for entry in found:
        valid = entry.metrics.get("valid")
        auc = valid.get("auc") if isinstance(valid, dict) else None
        made = f"{entry.lineage.get('backbone', '?')} + {entry.lineage.get('enhancer', '?')}"
        shown = f"{auc:.4f}" if isinstance(auc, float) else "-"
        rows.append((entry.version, made, shown, entry.created_at, ", ".join(entry.aliases)))
    say(table(("version", "made of", "valid AUC", "created", "aliases"), rows))
    result({"model": model, "versions": [asdict(entry) for entry in found]}, as_json)


@app.command()
def promote(
    model: ModelName,
    version: Annotated[str, typer.Argument(help="The version.")],
    alias: Annotated[str, typer.Option(help="The alias to move.")] = "champion",
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Point an alias at a version."""
    with services() as client:
        _moved(model, client.promote(model, version, alias=alias, force=force), as_json)


@app.command()
def rollback(
    model: ModelName,
    leaving: Annotated[str | None, typer.Option("--from", help="Only if this version is the champion now.")] = None,
    as_json: AsJson = False,
) -> None:
    """Let the champion before the present one score again, without the gate."""
    with services() as client:
        _moved(model, client.rollback(model, leaving=leaving), as_json)


@app.command()
def history(
    model: ModelName,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many at most.")] = 20,
    as_json: AsJson = False,
) -> None:
    """The decisions about a model's aliases, newest first, with their reasons."""
    with services() as client:
        found = client.model_history(model, limit=limit)
    rows = [(m.at, m.outcome, m.alias, m.version[:12], m.by or "-", m.reason) for m in found]
    say(table(("at", "outcome", "alias", "version", "by", "reason"), rows))
    result({"model": model, "decisions": [asdict(move) for move in found]}, as_json)


@app.command()
def prune(
    model: ModelName,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what would be deleted.")] = False,
    as_json: AsJson = False,
) -> None:
    """Delete the versions that the retention rule gives up."""
    with services() as client:
        gone = client.prune_versions(model, dry_run=dry_run)
    for version in gone:
        say(f"{version}  {'would be deleted' if dry_run else 'deleted'}")
    result({"versions": list(gone), "dry_run": dry_run}, as_json)


@app.command()
def train(
    model: ModelName,
    dataset: Annotated[str, typer.Option(help="A dataset that the service may read: a path or a URL.")],
    schema: Annotated[Path | None, typer.Option(help="A schema as YAML; without it one is inferred.")] = None,
    label: Annotated[str | None, typer.Option(help="The column of 0 and 1, where the schema names none.")] = None,
    backbone: Annotated[str | None, typer.Option(help="By default deepfm.")] = None,
    enhancer: Annotated[str | None, typer.Option(help="llactr, larr, ctrl or none.")] = None,
    table_version: Annotated[str | None, typer.Option(help="A version or alias of the field table.")] = None,
    values: Annotated[
        bool, typer.Option("--values", help="Let the model read the values of textual fields too.")
    ] = False,
    auto: Annotated[
        bool, typer.Option("--auto", help="Let a small proof on validation choose between plain, fields and values.")
    ] = False,
    minutes: Annotated[float | None, typer.Option(min=0.01, help="How long --auto may take; 15 by default.")] = None,
    warm_start: Annotated[
        str | None, typer.Option(help="A version or alias whose weights the training begins with.")
    ] = None,
    promote: Annotated[
        bool, typer.Option("--promote", help="Make the new version champion if the gate lets it.")
    ] = False,
    force: Force = False,
    options: Options = None,
    wait: Wait = True,
    as_json: AsJson = False,
) -> None:
    """Train a new version at the CTR service."""
    from llactr_core.schema import Schema

    content = None if schema is None else Schema.load(schema).model_dump(mode="json", exclude_defaults=True)
    with services() as client:
        job = client.train(
            model,
            dataset_for_service(dataset),
            schema=content,
            label=label,
            backbone=backbone,
            enhancer=enhancer,
            table_version=table_version,
            values=values or None,
            auto=auto or None,
            minutes=minutes,
            warm_start=warm_start,
            options=parse_options(options),
            promote=promote,
            force=force or None,
        )
        started(client, job, wait=wait, as_json=as_json)


@app.command()
def refresh(
    model: Annotated[str | None, typer.Argument(metavar="[MODEL]", help="By default the one that scores.")] = None,
    mode: Annotated[str | None, typer.Option(help="retrain (the default) or re-enhance.")] = None,
    table_version: Annotated[
        str | None, typer.Option(help="Tune nothing: take this version of the field table.")
    ] = None,
    dataset: Annotated[str | None, typer.Option(help="A path or a URL; by default the champion's.")] = None,
    force: Force = False,
    ssft: Options = None,
    wait: Wait = True,
    as_json: AsJson = False,
) -> None:
    """The whole chain: a new field table, a new version trained on it, the gate, promotion."""
    with services() as client:
        job = client.refresh(
            model,
            mode=mode,
            table_version=table_version,
            dataset=None if dataset is None else dataset_for_service(dataset),
            ssft=parse_options(ssft),
            force=force or None,
        )
        started(client, job, wait=wait, as_json=as_json)


def _moved(model: str, moved: "Alias", as_json: bool) -> None:
    say(f"{model}: {moved.alias} -> {moved.version} (before: {moved.previous or 'none'})")
    result(asdict(moved), as_json)
