"""The job `extend`: fields that a schema has and its current table lacks, embedded by the model of that table."""

from typing import Any

from pydantic import BaseModel, ConfigDict

from llactr_core.errors import ArtifactError, NotFoundError, UnavailableError
from llactr_core.progress import Progress
from llactr_core.schema import Schema
from llactr_core.semantics.extension import extend_table, missing_texts
from llactr_core.semantics.table import FieldTable
from llactr_core.semantics.template import default_template
from llactr_core.semantics.weights import model_digest, resolve_model
from services.llm.engines.engine import Engine, Voice
from services.llm.tables.maker import check_maker
from services.llm.tables.store import Origin, TableStore
from services.llm.tables.table_info import TableInfo
from services.shared.jobs.context import Handler, JobContext
from services.shared.jobs.job import Job
from services.shared.jobs.store import JobStore
from services.shared.telemetry.traces import traceparent

KIND = "extend"


class ExtendPayload(BaseModel):
    """What an extension keeps: the schema whose fields the table shall hold."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    content: Schema


def submit_extension(schema: Schema, tables: TableStore, jobs: JobStore) -> Job | None:
    """Queue an extension where the current table lacks fields of the schema; None where there is nothing to extend.

    Raises:
        RateError: the queue is full.
    """
    try:
        current = tables.info(schema.name)
    except NotFoundError:
        return None
    if current.fingerprint == schema.semantic_fingerprint or not _lacks(tables, current, schema):
        return None
    payload = ExtendPayload(content=schema).model_dump(mode="json")
    key = f"{KIND}:{schema.name}:{schema.semantic_fingerprint}"
    return jobs.submit(KIND, payload, active_key=key, lane=schema.name, traceparent=traceparent())


def _lacks(tables: TableStore, current: TableInfo, schema: Schema) -> bool:
    """Whether there is work for a job; where the table cannot be read, the job finds out, or says why not."""
    try:
        return bool(missing_texts(tables.read(current).table, schema))
    except (ArtifactError, UnavailableError):
        return True


def extension_handler(tables: TableStore, engine: Engine) -> Handler:
    """The handler of extensions: seconds, no tuning. `current` moves to the extended table."""

    def extend(context: JobContext) -> dict[str, Any]:
        schema = ExtendPayload.model_validate(context.payload).content
        current = tables.info(schema.name)
        table = tables.read(current).table
        missing = missing_texts(table, schema)
        if not missing:
            return _result(current)
        context.report(Progress("embed the added fields", 0.0))
        voice = _voice(tables, current, table)
        longer = extend_table(table, schema, engine.embed(voice, list(missing.values())).vectors)
        context.report(Progress("publish", 1.0))
        origin = Origin(schema.name, schema.semantic_fingerprint, current.model_name, context.job.id)
        return _result(tables.publish(longer, origin, voice.adapter))

    return extend


def _voice(tables: TableStore, info: TableInfo, table: FieldTable) -> Voice:
    """Who made the table, once it is known that its vectors and the added ones belong together."""
    path = resolve_model(info.model_name)
    template, digest = default_template(path).to_json(), model_digest(path)
    check_maker(info, table.provenance, digest, template, template.keys())
    return Voice(info.model_name, tables.adapter(info), digest)


def _result(info: TableInfo) -> dict[str, Any]:
    return {"schema": info.schema, "version": info.version, "extended": list(info.extended), "metrics": info.metrics}
