"""What a version is made from, and the making: data and table -> bundle -> registered version, each step once."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llactr_core import __version__
from llactr_core.bundle import Bundle
from llactr_core.data.splits import Splits
from llactr_core.schema import Schema
from llactr_core.semantics.semantics import Semantics
from llactr_core.semantics.table import FieldTable
from llactr_core.semantics.weights import DEFAULT_MODEL
from llactr_core.training.options import TrainOptions
from llactr_core.training.pipeline import train_bundle
from services.ctr.jobs.llm import FieldSemantics
from services.ctr.jobs.span import Span
from services.ctr.jobs.state import StateFile
from services.ctr.registry.bundles import publish
from services.ctr.registry.records import Lineage, ModelVersion
from services.ctr.registry.store import Registry
from services.shared.jobs.context import JobContext

TABLE = "table.safetensors"
BUNDLE = "bundle"
CHECKPOINTS = "checkpoints"


@dataclass(frozen=True)
class Recipe:
    """Everything that decides which bundle comes out, but for the semantics."""

    model: str
    dataset: str
    splits: Splits
    schema: Schema
    field_schema: str | None
    options: TrainOptions
    read_test: bool = False
    parent: str | None = None
    start_from: str | None = None
    language_model: str = DEFAULT_MODEL
    auto: Mapping[str, object] | None = None


def pull_table(semantics: FieldSemantics, folder: Path, schema: str, version: str) -> FieldTable:
    """A field table, fetched once and kept in a job's folder: a later attempt trains on the very same vectors."""
    path = folder / TABLE
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        semantics.table(schema, version).save(path)
    return FieldTable.load(path)


def make_version(
    recipe: Recipe, semantics: Semantics, context: JobContext, registry: Registry, state: StateFile, span: Span
) -> ModelVersion:
    """Train, publish and register. After a kill at any point the next call goes on with what was not finished.

    Raises:
        DataError, SchemaError, OptionError: data, schema or options do not fit.
        JobCancelled: the job was asked to end.
    """
    out = context.directory / BUNDLE
    if state.state.bundle_version is None:
        bundle = Bundle.open(out) if out.exists() else _train(recipe, semantics, context, registry, span)
        state.set(bundle_version=bundle.version)
    version = state.state.bundle_version or ""
    span.stage("publishing the bundle", 0.99)
    if out.exists():
        publish(out, registry.bundle_path(version))
    bundle = Bundle.open(registry.bundle_path(version))
    lineage = _lineage(recipe, semantics.fields, bundle, context.job.id)
    return registry.register(recipe.model, version, lineage, bundle.metrics)


def _train(recipe: Recipe, semantics: Semantics, context: JobContext, registry: Registry, span: Span) -> Bundle:
    return train_bundle(
        recipe.splits,
        recipe.schema,
        semantics,
        recipe.options,
        context.directory / BUNDLE,
        context.directory / CHECKPOINTS,
        span,
        read_test=recipe.read_test,
        start_from=None if recipe.start_from is None else registry.bundle_path(recipe.start_from),
        language_model=recipe.language_model,
        auto=recipe.auto,
        turn=context.turn,
    )


def _lineage(recipe: Recipe, table: FieldTable | None, bundle: Bundle, job: str) -> Lineage:
    enhanced = recipe.options.enhancer not in ("none", "ctrl")
    trained: dict[str, Any] = bundle.manifest["lineage"]  # type: ignore[assignment]
    return Lineage(
        dataset=recipe.dataset,
        data_digest=trained["data"],
        data_schema=recipe.schema.model_dump(mode="json"),
        schema_fingerprint=recipe.schema.fingerprint,
        backbone=recipe.options.backbone,
        enhancer=recipe.options.enhancer,
        field_schema=recipe.field_schema if enhanced else None,
        table_version=table.version if enhanced and table is not None else None,
        options=recipe.options.model_dump(mode="json"),
        code_version=__version__,
        job=job,
        parent=recipe.parent,
        start_from=recipe.start_from,
    )
