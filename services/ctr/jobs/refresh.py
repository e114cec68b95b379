"""The job "refresh": a new field table -> the champion's recipe trained on it -> registered -> gate -> promoted."""

from dataclasses import replace
from typing import Any

from llactr_core.bundle import VALUES
from llactr_core.data.splits import open_dataset
from llactr_core.errors import NotFoundError, PermissionDenied
from llactr_core.schema import Schema
from llactr_core.semantics.options import SsftOptions
from llactr_core.semantics.sampling import draw_samples
from llactr_core.semantics.semantics import Semantics
from services.ctr.jobs.llm import FieldSemantics, TuningRequest, field_semantics
from services.ctr.jobs.recipe import Recipe, make_version, pull_table
from services.ctr.jobs.scenes import schema_for, schema_of, tuned_scenes, tunes_scenes
from services.ctr.jobs.span import Span
from services.ctr.jobs.state import StateFile
from services.ctr.jobs.tuning import run_tuning
from services.ctr.jobs.values import with_values
from services.ctr.jobs.verdict import settle
from services.ctr.payloads import RefreshRequest
from services.ctr.promotion.promotion import Promotion
from services.ctr.registry.records import ModelVersion
from services.ctr.registry.store import CHAMPION, Registry, require_semantics
from services.ctr.settings import CtrSettings
from services.shared.datasets import resolve_dataset
from services.shared.jobs.context import JobContext
from services.shared.jobs.store import JobStore

# The share of the bar at which the new field table is there, where one is tuned and where it exists.
TUNED = 0.6
UNTUNED = 0.02


def refresh(
    context: JobContext, registry: Registry, promotion: Promotion, store: JobStore, settings: CtrSettings
) -> dict[str, Any]:
    """Do the job; payload {"model": name, "request": RefreshRequest, "by": name of the key or schedule}.

    Returns:
        {"model", "mode", "old": {"version", "table_version"}, "new": {...}, "metrics", "gate", "promoted", "reason"}.
        A version that the gate refused is a result too: promoted is false, and reason and gate say why.

    Raises:
        ConflictError: the champion was trained without field semantics.
        UnavailableError: the LLM service does not answer; the job waits and is tried again.
        LlactrError: data, schema, options or field table do not fit.
    """
    model = str(context.payload["model"])
    request = RefreshRequest.model_validate(context.payload["request"])
    state = StateFile(context.directory)
    span = Span(context.report)
    tuned = TUNED if request.table_version is None else UNTUNED
    span.stage("opening the dataset", tuned if state.state.table_version else 0.0)
    if state.state.parent is None:
        state.set(parent=registry.get(model, CHAMPION).version)
    old = registry.get(model, state.state.parent or CHAMPION)
    require_semantics(model, old)
    recipe = _recipe(model, request, old, settings)
    with field_semantics(settings) as semantics:
        version = request.table_version
        if version is None:
            version = _tuned(context, store, semantics, state, recipe, request, old, span.part(0.01, tuned))
        span.stage("pulling the field table", tuned)
        table = pull_table(semantics, context.directory, recipe.field_schema or recipe.schema.name, version)
        state.set(table_version=table.version)
        made_of = Semantics(table)
        reads_values = (registry.bundle_path(old.version) / VALUES).exists() or recipe.options.enhancer == "larr"
        if reads_values:
            made_of = with_values(semantics, table, recipe, context.directory, span.part(tuned, tuned))
    new = make_version(recipe, made_of, context, registry, state, span.part(tuned, 0.99))
    context.check()
    span.stage("judging the version", 0.99)
    verdict = settle(promotion, registry, context.job, model, new.version, promote=True, force=request.force)
    return {
        "model": model,
        "mode": request.mode,
        "old": _named(old),
        "new": _named(new),
        "metrics": new.metrics,
        "gate": verdict.gate,
        "promoted": verdict.promoted,
        "reason": verdict.reason,
    }


def _tuned(
    context: JobContext,
    store: JobStore,
    semantics: FieldSemantics,
    state: StateFile,
    recipe: Recipe,
    request: RefreshRequest,
    old: ModelVersion,
    span: Span,
) -> str:
    """The version of a new field table, made as the champion's was."""
    if not tunes_scenes(recipe.options):
        return _Tuning(context, store, semantics, state, recipe, request, old).run(span)
    larr = recipe.options.larr.model_copy(update={"seed": _seed(context)})
    anew = replace(recipe, options=recipe.options.model_copy(update={"larr": larr}))
    return tuned_scenes(anew, context, store, semantics, state, span, request.llm)


def _seed(context: JobContext) -> int:
    """One that makes a new table."""
    return int(context.job.id[:7], 16)


class _Tuning:
    """The first half: the LLM service tunes and embeds the fields anew, followed over restarts of either side."""

    def __init__(
        self,
        context: JobContext,
        store: JobStore,
        semantics: FieldSemantics,
        state: StateFile,
        recipe: Recipe,
        request: RefreshRequest,
        old: ModelVersion,
    ) -> None:
        self._context = context
        self._store = store
        self._semantics = semantics
        self._state = state
        self._recipe = recipe
        self._request = request
        self._old = old
        self._schema = recipe.field_schema or recipe.schema.name

    def run(self, span: Span) -> str:
        """The version of the new field table."""
        if self._state.state.table_version is None:
            try:
                version = self._tune(span)
            except (PermissionDenied, NotFoundError):
                # The LLM service may not read the dataset, or does not find it: send it the samples.
                if self._state.state.sampled:
                    raise
                self._state.set(sampled=True, llm_job=None)
                version = self._tune(span)
            self._state.set(table_version=version)
        return self._state.state.table_version or ""

    def _tune(self, span: Span) -> str:
        return run_tuning(self._context, self._store, self._semantics, self._state, lambda: self._start(span), span)

    def _start(self, span: Span) -> tuple[str | None, str | None]:
        self._semantics.register(self._schema, self._recipe.schema)
        ssft = self._options()
        sampled = self._state.state.sampled
        request = TuningRequest(self._schema, self._recipe.dataset, None, self._request.llm, ssft)
        if sampled:
            span.stage("drawing samples of the fields")
            request = replace(request, dataset=None, samples=self._samples(SsftOptions.parse(ssft)))
        how = "samples" if sampled else "dataset"
        return self._semantics.start(request, f"ctr-refresh-{self._context.job.id}-{how}")

    def _options(self) -> dict[str, Any]:
        """The options of the present table, those that were asked for over them, and a seed that makes a new table."""
        try:
            table = self._semantics.table(self._schema, self._old.lineage.table_version or "current")
        except NotFoundError:
            known: dict[str, Any] = {}
        else:
            known = dict(table.provenance.get("options") or {})
        return {**known, "seed": _seed(self._context), **self._request.ssft}

    def _samples(self, options: SsftOptions) -> dict[str, list[str]]:
        batches = self._recipe.splits.train.batches()
        return draw_samples(self._recipe.schema, batches, options.sam_num, options.seed)


def _recipe(model: str, request: RefreshRequest, old: ModelVersion, settings: CtrSettings) -> Recipe:
    lineage = old.lineage
    schema = Schema.parse(lineage.data_schema)
    path = resolve_dataset(request.dataset or lineage.dataset, settings.data_roots)
    options = request.options_over(lineage.options)
    return Recipe(
        model=model,
        dataset=str(path),
        splits=open_dataset(path, schema.label),
        schema=schema,
        field_schema=schema_for(options, schema_of(lineage) or schema.name),
        options=options,
        parent=old.version,
        start_from=old.version if request.mode == "re-enhance" else None,
    )


def _named(version: ModelVersion) -> dict[str, str | None]:
    return {"version": version.version, "table_version": version.lineage.table_version}
