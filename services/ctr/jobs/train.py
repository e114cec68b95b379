"""The job "train": dataset (+ field table) -> bundle -> registered version -> champion or challenger."""

from typing import Any

from llactr_core.data.infer import infer_schema
from llactr_core.data.splits import open_dataset
from llactr_core.schema import Schema
from llactr_core.semantics.semantics import Semantics
from services.ctr.jobs.choosing import choose_recipe
from services.ctr.jobs.llm import field_semantics
from services.ctr.jobs.recipe import Recipe, make_version, pull_table
from services.ctr.jobs.scenes import schema_for, schema_of, tuned_scenes, tunes_scenes
from services.ctr.jobs.span import Span
from services.ctr.jobs.state import StateFile
from services.ctr.jobs.values import with_values
from services.ctr.jobs.verdict import settle
from services.ctr.payloads import TrainRequest
from services.ctr.promotion.promotion import Promotion
from services.ctr.registry.records import ModelVersion
from services.ctr.registry.store import Registry
from services.ctr.settings import CtrSettings
from services.shared.datasets import resolve_dataset
from services.shared.jobs.context import JobContext
from services.shared.jobs.store import JobStore

READ, SCENES_READ, CHOSEN = 0.02, 0.5, 0.8  # the share of the bar at which the semantics are there


def train(
    context: JobContext, registry: Registry, promotion: Promotion, store: JobStore, settings: CtrSettings
) -> dict[str, Any]:
    """Do the job; payload {"model": name, "request": TrainRequest, "by": name of the key}.

    Returns:
        {"model", "version", "table_version", "promoted", "reason", "gate", "aliases", "metrics"}. A version that the
        gate refused is a result too: promoted is false, and reason and gate say why.

    Raises:
        UnavailableError: the LLM service does not answer; the job waits and is tried again.
        LlactrError: data, schema, options, field table or the version to start from do not fit.
    """
    model = str(context.payload["model"])
    request = TrainRequest.model_validate(context.payload["request"])
    state = StateFile(context.directory)
    span = Span(context.report)
    span.stage("opening the dataset")
    start = None if request.warm_start is None else registry.get(model, request.warm_start)
    recipe = _recipe(model, request, start, settings)
    if request.auto:
        recipe, semantics = choose_recipe(recipe, request, context, settings, span.part(0.01, CHOSEN))
    else:
        semantics = _semantics(recipe, request, context, store, state, settings, span)
    begun = CHOSEN if request.auto else SCENES_READ if tunes_scenes(recipe.options) else READ
    made = make_version(recipe, semantics, context, registry, state, span.part(begun, 0.99))
    context.check()
    span.stage("judging the version", 0.99)
    verdict = settle(
        promotion, registry, context.job, model, made.version, promote=request.promote, force=request.force
    )
    return {
        "model": model,
        "version": made.version,
        "table_version": made.lineage.table_version,
        "promoted": verdict.promoted,
        "reason": verdict.reason,
        "gate": verdict.gate,
        "aliases": registry.get(model, made.version).aliases,
        "metrics": made.metrics,
        **({} if recipe.auto is None else {"auto": dict(recipe.auto)}),
    }


def _recipe(model: str, request: TrainRequest, start: ModelVersion | None, settings: CtrSettings) -> Recipe:
    path = resolve_dataset(request.dataset, settings.data_roots)
    before = None if start is None else start.lineage
    schema = request.schema_over(None if before is None else Schema.parse(before.data_schema))
    splits = open_dataset(path, schema.label if schema else request.label)
    if schema is None:
        schema = infer_schema(splits.train, request.label or "", model).schema
    options = request.options_over(None if before is None else before.options)
    name = request.field_schema or (schema_of(before) if before else None) or schema.name
    return Recipe(
        model=model,
        dataset=str(path),
        splits=splits,
        schema=schema,
        field_schema=schema_for(options, name),
        options=options,
        read_test=request.read_test,
        start_from=None if start is None else start.version,
        language_model=settings.language_model,
    )


def _semantics(
    recipe: Recipe,
    request: TrainRequest,
    context: JobContext,
    store: JobStore,
    state: StateFile,
    settings: CtrSettings,
    span: Span,
) -> Semantics:
    enhancer = recipe.options.enhancer
    if enhancer in ("none", "ctrl"):
        return Semantics()
    begun, version = 0.01, request.table_version
    with field_semantics(settings) as service:
        if tunes_scenes(recipe.options):
            version = tuned_scenes(recipe, context, store, service, state, span.part(begun, SCENES_READ))
            begun = SCENES_READ
        span.stage("pulling the field table", begun)
        table = pull_table(service, context.directory, recipe.field_schema or recipe.schema.name, version)
        if request.values or enhancer == "larr":
            return with_values(service, table, recipe, context.directory, span.part(begun, begun + READ - 0.01))
        return Semantics(table)
