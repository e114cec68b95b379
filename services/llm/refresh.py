"""The job `refresh`: sample, tune, embed, publish. Killed in the middle, it goes on from what its folder holds."""

import json
from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa

from llactr_core.data.splits import open_dataset
from llactr_core.files import write_atomic
from llactr_core.progress import Progress
from llactr_core.semantics.recipe import recipe_of
from llactr_core.semantics.sampling import draw_samples
from services.llm.request import RefreshPayload
from services.llm.settings import LlmSettings
from services.llm.store import CURRENT, Origin, TableStore
from services.llm.table_info import TableInfo
from services.shared.datasets import resolve_dataset
from services.shared.worker import Handler, JobContext


def refresh_handler(tables: TableStore, settings: LlmSettings) -> Handler:
    """The handler of refresh jobs."""

    def refresh(context: JobContext) -> dict[str, Any]:
        payload = RefreshPayload.model_validate(context.payload)
        schema = payload.content
        samples = _samples(context, payload, settings)
        known = tables.by_recipe(schema.name, recipe_of(schema, samples, payload.model, payload.ssft))
        if known is not None:
            tables.move(schema.name, CURRENT, known.version)
            return result_of(known, reused=True)
        return result_of(_build(context, payload, samples, tables), reused=False)

    return refresh


def result_of(info: TableInfo, reused: bool) -> dict[str, Any]:
    """What a refresh answers once the table is there."""
    return {"schema": info.schema, "version": info.version, "reused": reused, "metrics": info.metrics}


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
    context: JobContext, payload: RefreshPayload, samples: dict[str, list[str]], tables: TableStore
) -> TableInfo:
    context.report(Progress("load model", 0.0))
    # Only here: a worker that waits for work has not loaded torch, and the API process never does.
    from llactr_core.semantics.build import build_field_table

    adapter = context.directory / "adapter"
    table = build_field_table(
        payload.content,
        samples,
        payload.model,
        payload.ssft,
        progress=context.report,
        checkpoint_dir=context.directory / "checkpoints",
        adapter_dir=adapter,
    )
    context.report(Progress("publish", 1.0))
    origin = Origin(
        schema=payload.content.name,
        fingerprint=payload.content.semantic_fingerprint,
        model=payload.model,
        job_id=context.job.id,
    )
    return tables.publish(table, origin, adapter if adapter.is_dir() else None)
