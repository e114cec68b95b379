"""The job "train": dataset (+ field table) -> bundle -> registered version -> champion if the model has none."""

from typing import Any

from llactr_core.data.infer import infer_schema
from llactr_core.data.splits import open_dataset
from llactr_core.semantics.table import FieldTable
from llactr_core.training.options import TrainOptions
from services.ctr.jobs.llm import field_semantics
from services.ctr.jobs.recipe import Recipe, make_version, pull_table
from services.ctr.jobs.span import Span
from services.ctr.jobs.state import StateFile
from services.ctr.payloads import TrainRequest
from services.ctr.registry.store import CHAMPION, Registry
from services.ctr.settings import CtrSettings
from services.shared.datasets import resolve_dataset
from services.shared.jobs.worker import JobContext


def train(context: JobContext, registry: Registry, settings: CtrSettings) -> dict[str, Any]:
    """Do the job; payload {"model": name, "request": TrainRequest}.

    Returns:
        {"model", "version", "table_version", "promoted", "aliases", "metrics"}.

    Raises:
        UnavailableError: the LLM service does not answer; the job waits and is tried again.
        LlactrError: data, schema, options or field table do not fit.
    """
    model = str(context.payload["model"])
    request = TrainRequest.model_validate(context.payload["request"])
    span = Span(context.report)
    span.stage("opening the dataset")
    recipe = _recipe(model, request, settings)
    table = _table(recipe, request, context, settings, span)
    made = make_version(recipe, table, context, registry, StateFile(context.directory), span.part(0.02, 1.0))
    promoted = request.promote or CHAMPION not in registry.aliases().get(model, {})
    if promoted:
        registry.set_alias(model, CHAMPION, made.version)
    made = registry.get(model, made.version)
    return {
        "model": model,
        "version": made.version,
        "table_version": made.lineage.table_version,
        "promoted": CHAMPION in made.aliases,
        "aliases": made.aliases,
        "metrics": made.metrics,
    }


def _recipe(model: str, request: TrainRequest, settings: CtrSettings) -> Recipe:
    path = resolve_dataset(request.dataset, settings.data_roots)
    schema = request.schema_given()
    splits = open_dataset(path, schema.label if schema else request.label)
    if schema is None:
        schema = infer_schema(splits.train, request.label or "", model).schema
    options = TrainOptions.parse({**request.options, "backbone": request.backbone, "enhancer": request.enhancer})
    return Recipe(
        model=model,
        dataset=str(path),
        splits=splits,
        schema=schema,
        field_schema=request.field_schema or schema.name,
        options=options,
        read_test=request.read_test,
    )


def _table(
    recipe: Recipe, request: TrainRequest, context: JobContext, settings: CtrSettings, span: Span
) -> FieldTable | None:
    if recipe.options.enhancer == "none":
        return None
    span.stage("pulling the field table", 0.01)
    with field_semantics(settings) as semantics:
        return pull_table(semantics, context, recipe.field_schema or recipe.schema.name, request.table_version)
