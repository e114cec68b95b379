"""The values of textual fields, or of the scene's, as the language model behind a field table reads them."""

from pathlib import Path

from llactr_core.data.encoding import Encoder
from llactr_core.enhancers.larr.scenes import scene_values
from llactr_core.errors import SchemaError
from llactr_core.semantics.semantics import Semantics
from llactr_core.semantics.table import FieldTable
from llactr_core.semantics.values.gather import recipe_of, table_of, unit
from llactr_core.semantics.values.table import ValueTable
from llactr_core.semantics.values.textual import textual_values
from services.ctr.jobs.llm import FieldSemantics
from services.ctr.jobs.recipe import Recipe
from services.ctr.jobs.span import Span

VALUES = "values.safetensors"


def with_values(semantics: FieldSemantics, fields: FieldTable, recipe: Recipe, folder: Path, span: Span) -> Semantics:
    """The field vectors and those of train's values, which the LLM service is asked for; it keeps what it has read.

    With the enhancer "larr" they are the values of the scene's fields. They are fetched once and kept in a folder of
    the job's, so that a later attempt trains on the very same vectors.

    Raises:
        SchemaError: no field has values in words.
        OptionError: the schema marks no field as the scene's, which "larr" needs.
        UnavailableError: the LLM service does not answer.
    """
    path = folder / VALUES
    if path.exists():
        return Semantics(fields, ValueTable.load(path))
    schema = recipe.schema
    encoder = Encoder.fit(schema, recipe.splits.train.batches(schema.columns))
    texts = scene_values(encoder) if recipe.options.enhancer == "larr" else textual_values(encoder)
    if not texts:
        raise SchemaError(
            f"no field of schema {schema.name!r} has values in words; set 'textual' to true where one has, or leave "
            "'values' out"
        )
    version = f"{recipe.field_schema or schema.name}@{fields.version}"
    made_by = recipe_of([fields.version])
    table = table_of(
        schema,
        texts,
        lambda some: unit(semantics.embed(some, version)),
        fields.model,
        made_by,
        progress=span,
    )
    table.save(path)
    return Semantics(fields, table)
