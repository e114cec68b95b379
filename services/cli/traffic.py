"""`llactr models traffic`: experiments between aliases, the shadow, and the share that is logged."""

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.console import AsJson, CommandError, result, say, table
from services.cli.place import services

if TYPE_CHECKING:
    from llactr_client import TrafficPlan

app = typer.Typer(help="Who answers a model's requests, who is compared, what is logged.", no_args_is_help=True)
ModelName = Annotated[str, typer.Argument(metavar="MODEL", help="The model's name.")]


@app.command()
def show(model: ModelName, as_json: AsJson = False) -> None:
    """The plan that holds."""
    with services() as client:
        plan = client.traffic(model)
    _print(model, plan, as_json)


@app.command("set")
def set_plan(
    model: ModelName,
    arm: Annotated[list[str] | None, typer.Option(help="ALIAS=WEIGHT, once for each arm.")] = None,
    shadow: Annotated[str | None, typer.Option(help="ALIAS=SHARE of the requests, or none.")] = None,
    log_share: Annotated[float | None, typer.Option(min=0, max=1, help="Share of the requests to log.")] = None,
    as_json: AsJson = False,
) -> None:
    """Change the plan; what is not given stays. `--arm champion=1 --shadow none` ends an experiment."""
    from llactr_client import Shadow

    with services() as client:
        plan = client.traffic(model)
        if arm:
            plan = replace(plan, arms=dict(_share(one) for one in arm))
        if shadow is not None:
            plan = replace(plan, shadow=None if shadow == "none" else Shadow(*_share(shadow)))
        if log_share is not None:
            plan = replace(plan, log_share=log_share)
        plan = client.set_traffic(model, plan)
    _print(model, plan, as_json)


def _print(model: str, plan: "TrafficPlan", as_json: bool) -> None:
    rows = [("answers", alias, f"{weight:.4g}") for alias, weight in plan.arms.items()]
    if plan.shadow is not None:
        rows.append(("shadow", plan.shadow.alias, f"{plan.shadow.share:.4g}"))
    rows.append(("logged", "-", "-" if plan.log_share is None else f"{plan.log_share:.4g}"))
    say(table(("what", "alias", "share"), rows))
    result({"model": model, **asdict(plan)}, as_json)


def _share(given: str) -> tuple[str, float]:
    """(alias, number) of ALIAS=NUMBER.

    Raises:
        CommandError: it is something else.
    """
    alias, _, number = given.partition("=")
    try:
        return alias, float(number)
    except ValueError:
        raise CommandError(f"{given!r} is not understood; give ALIAS=NUMBER, as in champion=0.9") from None
