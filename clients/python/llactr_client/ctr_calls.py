"""The calls of the CTR service (scores, models), and those that both services answer (jobs, health)."""

from collections.abc import Mapping, Sequence

from llactr_client import parsing
from llactr_client.call import Call, Reply, Service, encode, path
from llactr_client.llm_calls import JSON, alias_of, given, job_headers
from llactr_client.results import Alias, Health, Job, ModelInfo, ModelVersion, Scores

Row = Mapping[str, object]
EVERY_ERROR = frozenset(range(400, 600))


def score(
    rows: Sequence[Row] | None, columns: Mapping[str, Sequence[object]] | None, model: str | None, details: bool
) -> Call[Scores]:
    """POST /v1/score.

    Raises:
        ValueError: not exactly one of rows and columns is given.
    """
    if (rows is None) == (columns is None):
        raise ValueError("give exactly one of rows and columns")

    def parse(reply: Reply) -> Scores:
        content = reply.object()
        used = parsing.mapping(content, "model")
        return Scores(
            scores=parsing.numbers(content, "scores"),
            model=parsing.text(used, "name"),
            version=parsing.text(used, "version"),
            request_id=parsing.text(content, "request_id"),
            details=parsing.objects(content, "details"),
        )

    if rows is not None:
        body: dict[str, object] = {"rows": list(rows)}
    else:
        body = {"columns": {name: list(values) for name, values in (columns or {}).items()}}
    params = {**({"model": model} if model else {}), **({"details": "true"} if details else {})}
    return Call("ctr", "POST", "/v1/score", parse, encode(body), JSON, params)


def models() -> Call[tuple[ModelInfo, ...]]:
    """GET /v1/models."""

    def parse(reply: Reply) -> tuple[ModelInfo, ...]:
        return tuple(
            ModelInfo(
                name=parsing.text(entry, "name"),
                aliases={alias: str(version) for alias, version in parsing.mapping(entry, "aliases").items()},
                versions=parsing.texts(entry, "versions"),
            )
            for entry in parsing.objects(reply.object(), "models")
        )

    return Call("ctr", "GET", "/v1/models", parse)


def model_versions(model: str) -> Call[tuple[ModelVersion, ...]]:
    """GET /v1/models/{m}/versions."""

    def parse(reply: Reply) -> tuple[ModelVersion, ...]:
        return tuple(
            ModelVersion(
                version=parsing.text(entry, "version"),
                created_at=parsing.text(entry, "created_at"),
                aliases=parsing.texts(entry, "aliases"),
                lineage=parsing.mapping(entry, "lineage"),
                metrics=parsing.mapping(entry, "metrics"),
            )
            for entry in parsing.objects(reply.object(), "versions")
        )

    return Call("ctr", "GET", path("v1", "models", model, "versions"), parse)


def train(model: str, recipe: Mapping[str, object], idempotency_key: str | None) -> Call[Job]:
    """POST /v1/admin/models/{m}/train; the entries of the recipe that are None are not sent."""

    def parse(reply: Reply) -> Job:
        return parsing.submitted("ctr", reply)

    target = path("v1", "admin", "models", model, "train")
    return Call("ctr", "POST", target, parse, encode(given(recipe)), job_headers(idempotency_key))


def promote(model: str, version: str, alias: str, force: bool) -> Call[Alias]:
    """PUT /v1/admin/models/{m}/aliases/{alias}."""
    target = path("v1", "admin", "models", model, "aliases", alias)
    return Call("ctr", "PUT", target, alias_of, encode({"version": version, "force": force}), JSON)


def refresh(request: Mapping[str, object], idempotency_key: str | None) -> Call[Job]:
    """POST /v1/admin/refresh, the whole chain; the entries of the request that are None are not sent."""

    def parse(reply: Reply) -> Job:
        return parsing.submitted("ctr", reply)

    return Call("ctr", "POST", "/v1/admin/refresh", parse, encode(given(request)), job_headers(idempotency_key))


def jobs(service: Service) -> Call[tuple[Job, ...]]:
    """GET /v1/jobs, the newest first."""

    def parse(reply: Reply) -> tuple[Job, ...]:
        return tuple(parsing.job_of(service, entry) for entry in parsing.objects(reply.object(), "jobs"))

    return Call(service, "GET", "/v1/jobs", parse)


def job(service: Service, job_id: str) -> Call[Job]:
    """GET /v1/jobs/{id}."""
    return Call(service, "GET", path("v1", "jobs", job_id), lambda reply: parsing.submitted(service, reply))


def cancel_job(service: Service, job_id: str) -> Call[Job]:
    """DELETE /v1/jobs/{id}."""
    return Call(service, "DELETE", path("v1", "jobs", job_id), lambda reply: parsing.submitted(service, reply))


def job_events(service: Service, job_id: str) -> Call[Job]:
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
