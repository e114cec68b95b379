"""The values of textual fields, as the language model behind a field table reads them."""

import hashlib

from llactr_core.data.encoding import Encoder
from llactr_core.errors import SchemaError
from llactr_core.semantics.semantics import Semantics
from llactr_core.semantics.table import FieldTable
from llactr_core.semantics.tensor_file import as_json
from llactr_core.semantics.values.gather import table_of, unit, value_text
from llactr_core.semantics.values.table import ValueTable
from llactr_core.semantics.values.textual import textual_values
from services.ctr.jobs.llm import FieldSemantics
from services.ctr.jobs.recipe import Recipe
from services.ctr.jobs.span import Span
from services.shared.jobs.context import JobContext

VALUES = "values.safetensors"


def with_values(
    semantics: FieldSemantics, fields: FieldTable, recipe: Recipe, context: JobContext, span: Span
) -> Semantics:
    """The field vectors and those of train's values, which the LLM service is asked for; it keeps what it has read.

    They are fetched once per job, so that a later attempt trains on the very same vectors.

    Raises:
        SchemaError: no field has values in words.
        UnavailableError: the LLM service does not answer.
    """
    path = context.directory / VALUES
    if path.exists():
        return Semantics(fields, ValueTable.load(path))
    schema = recipe.schema
    texts = textual_values(Encoder.fit(schema, recipe.splits.train.batches(schema.columns)))
    if not texts:
        raise SchemaError(
            f"no field of schema {schema.name!r} has values in words; set 'textual' to true where one has, or leave "
            "'values' out"
        )
    version = f"{recipe.field_schema or schema.name}@{fields.version}"
    made_by = hashlib.sha256(as_json([fields.version, value_text("FIELD", "VALUE")]).encode()).hexdigest()
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
