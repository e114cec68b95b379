"""Training with `auto`: the recipe that a small proof chooses."""

import time
from dataclasses import replace

import optuna

from llactr_core.data.encoding import Encoder
from llactr_core.proof.auto import choose
from llactr_core.proof.work import Place
from llactr_core.semantics.semantics import Semantics
from llactr_core.semantics.values.textual import textual_values
from services.ctr.jobs.llm import field_semantics
from services.ctr.jobs.recipe import Recipe, pull_table
from services.ctr.jobs.span import Span
from services.ctr.jobs.values import with_values
from services.ctr.payloads import TrainRequest
from services.ctr.settings import CtrSettings
from services.shared.jobs.context import JobContext

SEARCHES = "searches.sqlite"
READ = 0.1


def choose_recipe(
    recipe: Recipe, request: TrainRequest, context: JobContext, settings: CtrSettings, span: Span
) -> tuple[Recipe, Semantics]:
    """The recipe with the winner's options, and what the winner reads. A later attempt goes on with the searches.

    Raises:
        UnavailableError: the LLM service does not answer.
        LlactrError: data, schema, options or field table do not fit.
    """
    began = time.monotonic()
    read = read_semantics(recipe, request.table_version, context, settings, span.part(0.0, READ))
    left = request.minutes - (time.monotonic() - began) / 60
    place = Place(context.directory, searches(context), span.part(READ, 1.0))
    backbones = (recipe.options.backbone,)
    choice = choose(recipe.splits, recipe.schema, read, request.options, backbones, left, place)
    return replace(recipe, options=choice.options, auto=choice.lineage), choice.semantics(read)


def read_semantics(
    recipe: Recipe, table_version: str, context: JobContext, settings: CtrSettings, span: Span
) -> Semantics:
    """The field vectors and, where there are textual fields, those of their values.

    Raises:
        UnavailableError: the LLM service does not answer.
        NotFoundError: it has no such field table.
    """
    span.stage("pulling the field table")
    schema = recipe.schema
    with field_semantics(settings) as service:
        table = pull_table(service, context.directory, recipe.field_schema or schema.name, table_version)
        if not textual_values(Encoder.fit(schema, recipe.splits.train.batches(schema.columns))):
            return Semantics(table)
        return with_values(service, table, recipe, context.directory, span)


def searches(context: JobContext) -> optuna.storages.BaseStorage:
    """Where this job's trials are kept between attempts."""
    return optuna.storages.RDBStorage(f"sqlite:///{context.directory / SEARCHES}")
