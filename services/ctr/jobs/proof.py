"""The job "prove": whether field semantics help on a dataset, with a report to fetch."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from llactr_core.data.infer import infer_schema
from llactr_core.data.splits import Splits, open_dataset
from llactr_core.errors import NotFoundError
from llactr_core.files import write_atomic
from llactr_core.proof.arms import Read
from llactr_core.proof.cuts import Chosen
from llactr_core.proof.readings import record_reading
from llactr_core.proof.reporting.numbers import defined
from llactr_core.proof.rows import newcomers
from llactr_core.proof.work import REPORTS, Place, prove
from llactr_core.semantics.semantics import Semantics
from llactr_core.training.options import TrainOptions
from services.ctr.jobs.choosing import read_semantics, searches
from services.ctr.jobs.llm import field_semantics
from services.ctr.jobs.recipe import Recipe, pull_table
from services.ctr.jobs.scenes import for_scenes, tuned_scenes
from services.ctr.jobs.span import Span
from services.ctr.jobs.state import StateFile
from services.ctr.jobs.values import with_values
from services.ctr.payloads import ProveRequest
from services.ctr.settings import CtrSettings
from services.shared.datasets import resolve_dataset
from services.shared.jobs.context import JobContext
from services.shared.jobs.store import JobStore

READ = 0.1  # the share of the bar at which the semantics are there


def prove_dataset(context: JobContext, store: JobStore, settings: CtrSettings) -> dict[str, Any]:
    """Do the job; payload {"model": name, "request": ProveRequest}.

    The language model is the one behind the LLM service's field table; as it came it is not asked, so the control
    "untuned language model" is left out. What is done lies in the job's folder, and a later attempt goes on from there.

    Returns:
        {"verdict", "code", "ships", "gain", "reports"}: gain is RelaImpr over plain with its interval, and reports are
        the names under GET /v1/admin/jobs/{id}/reports.

    Raises:
        UnavailableError: the LLM service does not answer; the job waits and is tried again.
        LlactrError: data, schema, options or field table do not fit.
    """
    request = ProveRequest.model_validate(context.payload["request"])
    options, span = request.options, Span(context.report)
    span.stage("opening the dataset")
    recipe = _recipe(request, settings)

    def reader(splits: Splits) -> Read:
        parts = [splits.train, *newcomers(splits, options)]
        together = Chosen(parts, splits.train.columns[0], 1, [0])
        its = replace(recipe, splits=replace(splits, train=together))
        tuned = read_semantics(its, request.table_version, context, settings, span.part(0.01, READ))
        scenes = Semantics()
        if "larr" in options.methods:
            its = replace(recipe, splits=splits, options=TrainOptions(larr=options.its_larr))
            larr = for_scenes(its)
            scenes = _scenes(larr, context, store, settings, span.part(READ, READ))
        return Read(tuned, Semantics(), scenes)

    command = f"POST /v1/admin/prove, job {context.job.id}"
    if options.final:
        record_reading(command)
    place = Place(context.directory, searches(context), span.part(READ, 0.99), context.turn)
    report: dict[str, Any] = prove(
        recipe.splits, recipe.schema, options, reader, place, {"command": command}, settings.language_model
    )
    keep(context.directory, settings.proofs / context.job.id)
    forget(settings.proofs, store)
    gain = defined(report["against"]["plain"]["relaimpr"])
    found = {"verdict": report["verdict"], "code": report["verdict_code"], "ships": report["ships"], "gain": gain}
    return {**found, "reports": list(REPORTS)}


def _scenes(recipe: Recipe, context: JobContext, store: JobStore, settings: CtrSettings, span: Span) -> Semantics:
    with field_semantics(settings) as service:
        version = tuned_scenes(recipe, context, store, service, StateFile(context.directory), span)
        folder = context.directory / "larr"
        table = pull_table(service, folder, recipe.field_schema or recipe.schema.name, version)
        return with_values(service, table, recipe, folder, span)


def _recipe(request: ProveRequest, settings: CtrSettings) -> Recipe:
    path = resolve_dataset(request.dataset, settings.data_roots)
    schema = request.schema_with_label()
    splits = open_dataset(path, schema.label if schema else request.label)
    if schema is None:
        schema = infer_schema(splits.train, request.label or "", request.model).schema
    return Recipe(
        model=request.model,
        dataset=str(path),
        splits=splits,
        schema=schema,
        field_schema=request.field_schema or schema.name,
        options=TrainOptions(),
        language_model=settings.language_model,
    )


def keep(work: Path, folder: Path) -> None:
    """Put the reports where the API finds them; the folder of the job itself goes when the job has ended."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in REPORTS:
        write_atomic(folder / name, (work / name).read_bytes())


def forget(folder: Path, store: JobStore) -> None:
    """Remove the reports of jobs that are gone."""
    for child in folder.iterdir():
        try:
            store.peek(child.name)
        except NotFoundError:
            shutil.rmtree(child, ignore_errors=True)
