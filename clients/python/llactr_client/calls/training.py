"""The calls that make new versions: train, refresh, and the schedule of refreshes."""

from collections.abc import Mapping

from llactr_client import parsing
from llactr_client.call import JSON, Call, Reply, encode, given, job_headers, path
from llactr_client.ctr_results import Schedule
from llactr_client.results import Job


def train(
    model: str,
    dataset: str,
    *,
    schema: Mapping[str, object] | None = None,
    label: str | None = None,
    backbone: str | None = None,
    enhancer: str | None = None,
    field_schema: str | None = None,
    table_version: str | None = None,
    values: bool | None = None,
    auto: bool | None = None,
    minutes: float | None = None,
    warm_start: str | None = None,
    options: Mapping[str, object] | None = None,
    promote: bool | None = None,
    force: bool | None = None,
    read_test: bool | None = None,
    idempotency_key: str | None = None,
) -> Call[Job]:
    """Start the training of a new version; what is None is left to the service. Without a schema give the label.

    `warm_start` is a version or alias whose weights the training begins with; with a dataset of new rows that is
    incremental training. `auto` lets a small proof of so many `minutes` choose between plain, fields and values.
    """
    recipe = {
        "dataset": dataset,
        "schema": schema,
        "label": label,
        "backbone": backbone,
        "enhancer": enhancer,
        "field_schema": field_schema,
        "table_version": table_version,
        "values": values,
        "auto": auto,
        "minutes": minutes,
        "warm_start": warm_start,
        "options": options,
        "promote": promote,
        "force": force,
        "read_test": read_test,
    }
    target = path("v1", "admin", "models", model, "train")
    return Call("ctr", "POST", target, _started, encode(given(recipe)), job_headers(idempotency_key))


def refresh(
    model: str | None = None,
    *,
    mode: str | None = None,
    table_version: str | None = None,
    dataset: str | None = None,
    llm: str | None = None,
    ssft: Mapping[str, object] | None = None,
    options: Mapping[str, object] | None = None,
    force: bool | None = None,
    idempotency_key: str | None = None,
) -> Call[Job]:
    """Start the whole chain: a new field table, a new version with it, the gate, promotion.

    `mode` is retrain (the default) or re-enhance; with a `table_version` nothing is tuned.
    """
    request = {
        "model": model,
        "mode": mode,
        "table_version": table_version,
        "dataset": dataset,
        "llm": llm,
        "ssft": ssft,
        "options": options,
        "force": force,
    }
    return Call("ctr", "POST", "/v1/admin/refresh", _started, encode(given(request)), job_headers(idempotency_key))


def prove(
    dataset: str,
    *,
    schema: Mapping[str, object] | None = None,
    label: str | None = None,
    model: str | None = None,
    options: Mapping[str, object] | None = None,
    idempotency_key: str | None = None,
) -> Call[Job]:
    """Start a proof of whether field semantics help on a dataset.

    `options` are those of `llactr prove` by their names, such as quick, minutes, backbones, cut and final. A key that
    is limited to models names one of them as `model`.
    """
    request = {**(options or {}), **given({"dataset": dataset, "schema": schema, "label": label, "model": model})}
    return Call("ctr", "POST", "/v1/admin/prove", _started, encode(request), job_headers(idempotency_key))


def proof_report(job_id: str, name: str = "report.json") -> Call[bytes]:
    """A report of a proof that has succeeded: report.json, report.md or report.html."""
    return Call("ctr", "GET", path("v1", "admin", "jobs", job_id, "reports", name), lambda reply: reply.body)


def schedule(model: str) -> Call[Schedule]:
    """When a model is refreshed, and what has come of it."""
    return Call("ctr", "GET", _schedule_of(model), _schedule)


def set_schedule(
    model: str,
    *,
    every_hours: float | None = None,
    on_new_table: bool = False,
    request: Mapping[str, object] | None = None,
) -> Call[Schedule]:
    """Refresh a model every so many hours, when its field table has a new version, or both.

    `request` says how, with the names of `refresh`, without the model.
    """
    body = given({"every_hours": every_hours, "on_new_table": on_new_table, "request": request})
    return Call("ctr", "PUT", _schedule_of(model), _schedule, encode(body), JSON)


def delete_schedule(model: str) -> Call[Schedule]:
    """Refresh a model only when asked; what the schedule was."""
    return Call("ctr", "DELETE", _schedule_of(model), _schedule)


def _schedule_of(model: str) -> str:
    return path("v1", "admin", "models", model, "schedule")


def _started(reply: Reply) -> Job:
    return parsing.submitted("ctr", reply)


def _schedule(reply: Reply) -> Schedule:
    content = reply.object()
    return Schedule(
        model=parsing.text(content, "model"),
        every_hours=parsing.number(content, "every_hours"),
        on_new_table=content.get("on_new_table") is True,
        request=parsing.mapping(content, "request"),
        next_at=parsing.text(content, "next_at") or None,
        tried_table=parsing.text(content, "tried_table") or None,
        last_job=parsing.text(content, "last_job") or None,
        updated_at=parsing.text(content, "updated_at"),
    )
