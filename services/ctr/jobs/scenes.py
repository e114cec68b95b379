"""The scene's values, as a language model reads them that this job tunes: stages 1 and 2 of LARR."""

from llactr_core.data.encoding import Encoder
from llactr_core.enhancers.larr.build import build_scene_table
from llactr_core.semantics.semantics import Semantics
from services.ctr.jobs.recipe import Recipe
from services.ctr.jobs.span import Span
from services.shared.jobs.context import JobContext

WORK = "larr"


def with_tuned_scenes(recipe: Recipe, context: JobContext, span: Span) -> Semantics:
    """The vectors of the scene's values; what is tuned and read lies in the job's folder, and a later attempt goes on.

    Raises:
        NotFoundError, ArtifactError: the language model is not here, or damaged.
        OptionError, DataError: schema, options or clicks do not give what the stages read.
    """
    schema, train = recipe.schema, recipe.splits.train
    encoder = Encoder.fit(schema, train.batches(schema.columns))
    work = context.directory / WORK
    found = build_scene_table(encoder, train, recipe.language_model, recipe.options.larr, work, progress=span)
    return Semantics(values=found.table)
