"""The job `extend`: fields that a schema has and its current table lacks, embedded by the model of that table."""

from typing import Any

from pydantic import BaseModel, ConfigDict

from llactr_core.errors import ArtifactError, NotFoundError
from llactr_core.progress import Progress
from llactr_core.schema import Schema
from llactr_core.semantics.extension import extend_table, missing_texts, template_of
from llactr_core.semantics.table import FieldTable
from llactr_core.semantics.template import default_template
from llactr_core.semantics.weights import resolve_model
from services.llm.engines.engine import Engine, Voice
from services.llm.tables.store import Origin, TableStore
from services.llm.tables.table_info import TableInfo
from services.shared.jobs.job import Job
from services.shared.jobs.store import JobStore
from services.shared.jobs.worker import Handler, JobContext
from services.shared.telemetry.traces import traceparent

KIND = "extend"


class ExtendPayload(BaseModel):
    """What an extension keeps: the schema whose fields the table shall hold."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    content: Schema


def submit_extension(schema: Schema, tables: TableStore, jobs: JobStore) -> Job | None:
    """Queue an extension where the current table was made for other fields; None where there is nothing to extend.

    Raises:
        RateError: the queue is full.
    """
    try:
        current = tables.info(schema.name)
    except NotFoundError:
        return None
    if current.fingerprint == schema.semantic_fingerprint:
        return None
    payload = ExtendPayload(content=schema).model_dump(mode="json")
    key = f"{KIND}:{schema.name}:{schema.semantic_fingerprint}"
    return jobs.submit(KIND, payload, active_key=key, lane=schema.name, traceparent=traceparent())


def extension_handler(tables: TableStore, engine: Engine) -> Handler:
    """The handler of extensions: seconds, no tuning. `current` moves to the extended table."""

    def extend(context: JobContext) -> dict[str, Any]:
        schema = ExtendPayload.model_validate(context.payload).content
        current = tables.info(schema.name)
        table = tables.read(current).table
        missing = missing_texts(table, schema)
        if not missing:
            return _result(current, ())
        context.report(Progress("embed the added fields", 0.0))
        longer = _extended(table, schema, engine, Voice(current.model_name, tables.adapter(current)))
        context.report(Progress("publish", 1.0))
        origin = Origin(schema.name, schema.semantic_fingerprint, current.model_name, context.job.id)
        return _result(tables.publish(longer, origin, tables.adapter(current)), tuple(missing))

    return extend


def _extended(table: FieldTable, schema: Schema, engine: Engine, voice: Voice) -> FieldTable:
    # An engine embeds with the model's template of today: vectors of two templates do not belong into one table.
    if template_of(table) != default_template(resolve_model(voice.model)):
        raise ArtifactError(
            f"the field table {table.version[:12]} was made with another template than the model has today; "
            "refresh the fields instead"
        )
    texts = list(missing_texts(table, schema).values())
    return extend_table(table, schema, engine.embed(voice, texts).vectors)


def _result(info: TableInfo, extended: tuple[str, ...]) -> dict[str, Any]:
    return {"schema": info.schema, "version": info.version, "extended": list(extended), "metrics": info.metrics}
