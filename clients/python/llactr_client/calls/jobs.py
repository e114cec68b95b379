"""The calls that both services answer: jobs and health."""

from llactr_client import parsing
from llactr_client.call import Call, Reply, Service, path
from llactr_client.results import Health, Job

EVERY_ERROR = frozenset(range(400, 600))


def jobs(service: Service = "ctr") -> Call[tuple[Job, ...]]:
    """The latest jobs of a service, the newest first."""

    def parse(reply: Reply) -> tuple[Job, ...]:
        return tuple(parsing.job_of(service, entry) for entry in parsing.objects(reply.object(), "jobs"))

    return Call(service, "GET", "/v1/jobs", parse)


def job(job_id: str, service: Service = "ctr") -> Call[Job]:
    """One job."""
    return Call(service, "GET", path("v1", "jobs", job_id), lambda reply: parsing.submitted(service, reply))


def cancel_job(job_id: str, service: Service = "ctr") -> Call[Job]:
    """Ask for the end of a job; what it has published stays."""
    return Call(service, "DELETE", path("v1", "jobs", job_id), lambda reply: parsing.submitted(service, reply))


def job_events(job_id: str, service: Service = "ctr") -> Call[Job]:
    """GET /v1/jobs/{id}/events: a stream whose every event holds the job; `parse` reads one event's data."""
    target = path("v1", "jobs", job_id, "events")
    headers = {"Accept": "text/event-stream"}
    return Call(service, "GET", target, lambda reply: parsing.submitted(service, reply), headers=headers)


def health(service: Service, probe: str) -> Call[Health]:
    """GET /healthz or /readyz; every status is an answer, and the caller asks again when it likes."""

    def parse(reply: Reply) -> Health:
        detail = reply.body[:500].decode("utf-8", "replace")
        if "json" in reply.headers.get("content-type", ""):
            content = reply.object()
            detail = parsing.text(content, "detail") or parsing.text(content, "status")
        return Health(reply.status == 200, reply.status, detail)

    return Call(service, "GET", f"/{probe}", parse, accept=EVERY_ERROR, repeatable=False)
