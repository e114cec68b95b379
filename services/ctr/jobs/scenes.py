"""The scene's values, as the LLM service reads them once it has tuned its model by stages 1 and 2 of LARR."""

from dataclasses import replace

from llactr_core.data.encoding import Encoder
from llactr_core.enhancers.larr.read import read_texts
from llactr_core.enhancers.larr.scenes import scene_values
from llactr_core.enhancers.larr.texts import LarrTuning
from llactr_core.training.options import TrainOptions
from services.ctr.jobs.llm import FieldSemantics, TuningRequest
from services.ctr.jobs.recipe import Recipe
from services.ctr.jobs.span import Span
from services.ctr.jobs.state import StateFile
from services.ctr.jobs.tuning import run_tuning
from services.ctr.registry.records import Lineage
from services.shared.jobs.context import JobContext
from services.shared.jobs.store import JobStore

SUFFIX = "-larr"


def tunes_scenes(options: TrainOptions) -> bool:
    """Whether the language model is changed for these options' scenes."""
    return options.tunes_scenes


def scene_schema(name: str) -> str:
    """The field schema of LARR's tables beside that of LLaCTR's, whose `current` stays as it is.

    >>> scene_schema("takeaway"), scene_schema("takeaway-larr")
    ('takeaway-larr', 'takeaway-larr')
    """
    return name.removesuffix(SUFFIX) + SUFFIX


def schema_for(options: TrainOptions, name: str) -> str:
    """The field schema for these options, given that of LLaCTR's tables."""
    return scene_schema(name) if tunes_scenes(options) else name


def schema_of(lineage: Lineage) -> str | None:
    """The field schema of LLaCTR's tables, as a version tells it; one of LARR stands beside it."""
    name = lineage.field_schema
    return name.removesuffix(SUFFIX) if name is not None and lineage.enhancer == "larr" else name


def tuned_scenes(
    recipe: Recipe,
    context: JobContext,
    store: JobStore,
    semantics: FieldSemantics,
    state: StateFile,
    span: Span,
    model: str | None = None,
) -> str:
    """The version of the field table whose model stages 1 and 2 have tuned, on what train says in words.

    The recipe's field schema is registered. A later attempt finds the tuning that runs, or its table. `model` is the
    language model; by default the LLM service's.

    Raises:
        OptionError, DataError: schema, options or clicks do not give what the stages read.
        UnavailableError: the LLM service does not answer.
    """
    if state.state.table_version is not None:
        return state.state.table_version
    schema, options = recipe.schema, recipe.options.larr

    def ask() -> tuple[str | None, str | None]:
        encoder = Encoder.fit(schema, recipe.splits.train.batches(schema.columns))
        scene_values(encoder)
        tuning = LarrTuning(texts=read_texts(encoder, recipe.splits.train, options), options=options)
        name = recipe.field_schema or scene_schema(schema.name)
        semantics.register(name, schema)
        request = TuningRequest(name, model=model, larr=tuning.model_dump(mode="json"))
        return semantics.start(request, f"ctr-larr-{context.job.id}")

    version = run_tuning(context, store, semantics, state, ask, span)
    state.set(table_version=version)
    return version


def for_scenes(recipe: Recipe) -> Recipe:
    """The recipe of LARR beside another one, with a field schema of its own."""
    options = recipe.options.model_copy(update={"enhancer": "larr"})
    return replace(recipe, options=options, field_schema=scene_schema(recipe.field_schema or recipe.schema.name))
