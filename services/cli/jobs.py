"""`llactr jobs`: what the services are doing."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from services.cli.console import AsJson, result, say, table
from services.cli.display import Display
from services.cli.place import services

if TYPE_CHECKING:
    from llactr_client import Client, Job

app = typer.Typer(help="Jobs of both services.", no_args_is_help=True)
Service = Literal["llm", "ctr"]
JobId = Annotated[str, typer.Argument(help="The job's id.")]
AtService = Annotated[Service | None, typer.Option("--service", help="Whose job it is; by default it is looked up.")]


@app.command("list")
def list_jobs(as_json: AsJson = False) -> None:
    """The latest jobs of both services."""
    with services() as client:
        jobs = [*client.jobs("llm"), *client.jobs("ctr")]
    jobs.sort(key=lambda job: job.created_at, reverse=True)
    rows = [(j.id, j.service, j.kind, j.state, f"{j.progress:.0%}", j.stage, j.created_at) for j in jobs]
    say(table(("id", "service", "kind", "state", "done", "stage", "created"), rows))
    result({"jobs": [asdict(job) for job in jobs]}, as_json)


@app.command()
def show(job_id: JobId, service: AtService = None, as_json: AsJson = False) -> None:
    """One job."""
    with services() as client:
        job = find_job(client, job_id, service)
    say(f"{job.id}  {job.service} {job.kind}: {job.state}, {job.stage} {job.progress:.0%}")
    if job.error is not None:
        say(f"error: {job.error.get('detail')}")
    result(asdict(job), as_json)


@app.command()
def cancel(job_id: JobId, service: AtService = None, as_json: AsJson = False) -> None:
    """Ask a job to end; what it has published stays."""
    with services() as client:
        job = client.cancel_job(job_id, find_job(client, job_id, service).service)
    say(f"{job.id}: {job.state}, {job.stage}")
    result(asdict(job), as_json)


@app.command()
def watch(
    job_id: JobId,
    service: AtService = None,
    timeout: Annotated[float | None, typer.Option(help="Give up after so many seconds.")] = None,
    as_json: AsJson = False,
) -> None:
    """Follow a job to its end; status 2 if it fails."""
    with services() as client:
        job = follow(client, find_job(client, job_id, service), timeout)
    result(asdict(job), as_json)


def find_job(client: "Client", job_id: str, service: Service | None) -> "Job":
    """The job, at the service that has it.

    Raises:
        ApiError: no service has it.
    """
    from llactr_client import ApiError

    if service is not None:
        return client.job(job_id, service)
    try:
        return client.job(job_id, "ctr")
    except ApiError as error:
        if error.status != 404:
            raise
        return client.job(job_id, "llm")


def follow(client: "Client", job: "Job", timeout: float | None = None) -> "Job":
    """Show a job's progress until it has succeeded.

    Raises:
        JobFailed, JobTimeout: it has not.
    """
    with Display() as display:
        return client.wait_for_job(job, display.job(job.kind or "job"), timeout)


def started(client: "Client", job: "Job", *, wait: bool, as_json: bool) -> None:
    """What a command does that has started a job: follow it, or say how to."""
    if wait:
        job = follow(client, job)
        for name, value in (job.result or {}).items():
            if not isinstance(value, Mapping):
                say(f"{name}: {value}")
    else:
        say(f"job {job.id} is {job.state}; follow it with `llactr jobs watch {job.id}`")
    result(asdict(job), as_json)
