"""`llactr first-model`: the main job on services that run already, where there is no model of the dataset yet."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.console import AsJson, CommandError, result, say
from services.cli.display import Display
from services.cli.place import services

if TYPE_CHECKING:
    from llactr_client import Client, Health

    from services.cli.dataset_choice import DatasetChoice
    from services.cli.main_job import MainJob

LOOK_S = 0.1


def first_model(
    data: Annotated[Path | None, typer.Option(envvar="DATA", help="A dataset; by default the sample.")] = None,
    label: Annotated[str | None, typer.Option(envvar="LABEL", help="Its column of 0 and 1.")] = None,
    wait_s: Annotated[float, typer.Option(min=0, help="Seconds to wait for a service that is not there yet.")] = 300.0,
    as_json: AsJson = False,
) -> None:
    """Have running services train a first model, if they have none of the dataset, and wait until it answers.

    The services must find the dataset under the same path.
    """
    from services.cli.dataset_choice import DatasetChoice

    with services() as client, Display() as display:
        await_services(client, wait_s)
        job = ensure_model(client, DatasetChoice.asked(data, label), display, display.say, wait_s)
        found = job.champion()
        summary = f"model {job.name}\n\n{job.metrics_table()}"
    say(summary)
    result({"model": job.name, "version": found.version if found else None}, as_json)


def await_services(client: "Client", wait_s: float) -> None:
    """Return when both services answer.

    Raises:
        CommandError: one does not in time.
    """
    await_health(lambda: client.health("llm"), "the LLM service", wait_s)
    await_health(lambda: client.health("ctr"), "the CTR service", wait_s)


def ensure_model(
    client: "Client", choice: "DatasetChoice", display: Display, tell: Callable[[str], None], wait_s: float
) -> "MainJob":
    """Do the main job of a dataset where there is no champion of it, and return it when a champion answers.

    Args:
        client: of both services, with the admin key.
        choice: the dataset.
        display: shows the progress of the jobs.
        tell: gets the lines for people.
        wait_s: how long either service may take to be ready.

    Raises:
        ClientError: a service refuses, or a job fails.
        CommandError: a service is not ready in time.
    """
    from services.cli.main_job import MainJob

    job = MainJob(client, choice, os.environ.get("LLM_MODEL") or None, display)
    if job.champion() is None:
        tell(f"no model for {choice.path} yet: training one ({choice.origin})")
        await_health(lambda: client.ready("llm"), "the language model", wait_s)
        started = time.monotonic()
        job.run()
        tell(f"trained in {time.monotonic() - started:.0f} s")
    await_health(lambda: client.ready("ctr"), "the champion", wait_s)
    return job


def await_health(ask: "Callable[[], Health]", what: str, wait_s: float) -> None:
    """Ask until the answer is yes.

    Raises:
        CommandError: it is not in time.
    """
    deadline = time.monotonic() + wait_s
    while not (answer := ask()).ok:
        if time.monotonic() > deadline:
            raise CommandError(f"{what} is not ready after {wait_s:.0f} s: {answer.detail}")
        time.sleep(LOOK_S)
