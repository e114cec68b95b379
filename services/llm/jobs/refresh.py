"""The job `refresh`: sample, tune, embed, publish. Killed in the middle, it goes on from what its folder holds."""

import json
import logging
import time
from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa

from llactr_core.data.splits import open_dataset
from llactr_core.errors import OptionError, RateError, UnavailableError
from llactr_core.files import write_atomic
from llactr_core.progress import Progress
from llactr_core.schema import Schema
from llactr_core.semantics.sampling import draw_samples
from llactr_core.semantics.template import default_template
from llactr_core.semantics.weights import resolve_model
from services.llm.engines.engine import Engine, Voice
from services.llm.jobs.extension import submit_extension
from services.llm.jobs.request import RefreshPayload
from services.llm.jobs.tuning import tuned_model
from services.llm.schema_store import SchemaStore
from services.llm.settings import LlmSettings
from services.llm.tables.store import CURRENT, Origin, TableStore
from services.llm.tables.table_info import TableInfo
from services.shared.datasets import resolve_dataset
from services.shared.jobs.context import Handler, JobContext
from services.shared.jobs.store import JobStore

logger = logging.getLogger(__name__)


def refresh_handler(
    tables: TableStore, engine: Engine, settings: LlmSettings, schemas: SchemaStore, jobs: JobStore
) -> Handler:
    """The handler of refresh jobs. Fields that the schema was given meanwhile are added by a job of their own."""

    def refresh(context: JobContext) -> dict[str, Any]:
        payload = RefreshPayload.model_validate(context.payload)
        schema = payload.content
        _check_rank(payload, settings)
        samples = _samples(context, payload, settings)
        known = tables.by_recipe(schema.name, payload.recipe_with(samples))
        if known is not None:
            tables.move(schema.name, CURRENT, known.version)
        info = known or _build(context, payload, samples, tables, engine, settings)
        _add_later_fields(schemas.get(schema.name).schema, tables, jobs)
        return result_of(info, reused=known is not None)

    return refresh


def result_of(info: TableInfo, reused: bool) -> dict[str, Any]:
    """What a refresh answers once the table is there."""
    return {"schema": info.schema, "version": info.version, "reused": reused, "metrics": info.metrics}


def _add_later_fields(newest: Schema, tables: TableStore, jobs: JobStore) -> None:
    try:
        submit_extension(newest, tables, jobs)
    except RateError as error:  # the table is published; registering the schema again adds the fields
        logger.warning("schema %s: its later fields are not added: %s", newest.name, error)


def _samples(context: JobContext, payload: RefreshPayload, settings: LlmSettings) -> dict[str, list[str]]:
    """The samples of the request, or of the dataset's train part; drawn once and kept in the job's folder."""
    if payload.dataset is None:
        return payload.samples or {}
    kept = context.directory / "samples.json"
    if kept.is_file():
        content: dict[str, list[str]] = json.loads(kept.read_text(encoding="utf-8"))
        return content
    context.report(Progress("draw samples", 0.0))
    path = resolve_dataset(payload.dataset, settings.data_roots)
    source = open_dataset(path).train
    schema = payload.content
    batches = _watched(context, source.batches(schema.columns))
    samples = draw_samples(schema, batches, payload.ssft.sam_num, payload.ssft.seed)
    write_atomic(kept, json.dumps(samples).encode())
    return samples


def _watched(context: JobContext, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        context.check()
        yield batch


def _build(
    context: JobContext,
    payload: RefreshPayload,
    samples: dict[str, list[str]],
    tables: TableStore,
    engine: Engine,
    settings: LlmSettings,
) -> TableInfo:
    # Only here: a worker that waits for work has not loaded torch, and the API process never does.
    from llactr_core.semantics.build import field_table, ssft_facts

    schema, model = payload.content, payload.model
    tuned = tuned_model(context, payload, samples, engine)
    context.report(Progress("wait for the engine", 1.0))
    _until_ready(context, engine, settings.vllm_start_s)
    context.report(Progress("embed fields", 1.0))
    texts = default_template(resolve_model(model)).fields(schema)
    vectors = engine.embed(Voice(model, tuned.adapter), texts).vectors
    made_with = payload.larr.facts() if payload.larr is not None else ssft_facts(schema, samples, payload.ssft)
    recipe = payload.recipe_with(samples)
    table = field_table(schema, model, recipe, made_with, tuned, vectors, settings.engine)
    context.report(Progress("publish", 1.0))
    origin = Origin(schema.name, schema.semantic_fingerprint, model, context.job.id)
    return tables.publish(table, origin, tuned.adapter)


def _until_ready(context: JobContext, engine: Engine, seconds: float) -> None:
    """Wait for an engine that starts; one that does not, is the job's reason to wait longer."""
    end = time.monotonic() + seconds
    while True:
        try:
            return engine.check()
        except UnavailableError:
            if time.monotonic() > end:
                raise
        context.sleep(0.5)


def _check_rank(payload: RefreshPayload, settings: LlmSettings) -> None:
    if settings.engine == "vllm" and payload.rank > settings.vllm_max_rank:
        raise OptionError(
            f"rank {payload.rank} was asked for, but vLLM is prepared for {settings.vllm_max_rank}; ask for less, "
            "or start the service with a larger LLACTR_LLM_VLLM_MAX_RANK",
            field="rank",
        )
