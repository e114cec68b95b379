"""Fields that a table lacks: which they are, and what the extended table says of them."""

import numpy as np
import pytest

from llactr_core.errors import ArtifactError
from llactr_core.schema import Schema
from llactr_core.semantics.extension import extend_table, missing_texts
from llactr_core.semantics.table import FieldTable
from llactr_core.semantics.template import Template

TEMPLATE = Template(pooling="last", max_tokens=64)


def schema(**descriptions: str) -> Schema:
    fields = [{"name": name, "description": text} for name, text in descriptions.items()]
    return Schema.parse({"name": "shop", "fields": fields})


def table(of: Schema) -> FieldTable:
    return FieldTable(
        fields=of.names,
        vectors=np.arange(4 * len(of.names), dtype=np.float32).reshape(-1, 4),
        model="tiny",
        recipe="r",
        provenance={"template": TEMPLATE.to_json(), "field_texts": list(TEMPLATE.fields(of)), "schema": of.name},
        metrics={"held_out_accuracy": 0.5},
    )


BEFORE = schema(age="age of the user", city="where the user lives")


def test_what_is_read_the_same_is_not_missing() -> None:
    after = schema(city="where the user lives", age="age of the user")
    assert missing_texts(table(BEFORE), after) == {}


def test_an_added_and_a_reworded_field_are_missing() -> None:
    after = schema(age="age in years", city="where the user lives", device="kind of device")
    assert list(missing_texts(table(BEFORE), after)) == ["age", "device"]


def test_the_extended_table_keeps_vectors_and_marks_the_added() -> None:
    base = table(BEFORE)
    after = schema(device="kind of device", city="where the user lives", age="age of the user")
    longer = extend_table(base, after, np.full((1, 4), 9, dtype=np.float32))
    assert longer.fields == ("device", "city", "age")
    assert longer.vectors.tolist() == [[9] * 4, [4, 5, 6, 7], [0, 1, 2, 3]]
    assert longer.provenance["extended"] == ["device"]
    assert longer.provenance["extended_from"] == base.version
    assert longer.provenance["semantic_fingerprint"] == after.semantic_fingerprint
    assert longer.metrics == base.metrics
    assert FieldTable.from_bytes(longer.to_bytes()) == longer


def test_an_extension_of_an_extension_remembers_both() -> None:
    one = extend_table(
        table(BEFORE),
        schema(age="age of the user", city="where the user lives", os="system"),
        np.ones((1, 4), dtype=np.float32),
    )
    two = extend_table(one, schema(age="age of the user", os="system", hour="hour"), np.zeros((1, 4), np.float32))
    assert two.provenance["extended"] == ["os", "hour"]
    assert two.fields == ("age", "os", "hour")


def test_vectors_of_another_shape_are_refused() -> None:
    after = schema(age="age of the user", city="where the user lives", os="system")
    for shape in ((2, 4), (1, 3), (0, 4)):
        with pytest.raises(ArtifactError, match="1 fields of width 4"):
            extend_table(table(BEFORE), after, np.zeros(shape, dtype=np.float32))


def test_a_table_without_its_template_is_refused() -> None:
    bare = FieldTable(fields=("a",), vectors=np.ones((1, 4), dtype=np.float32), model="tiny", recipe="r")
    with pytest.raises(ArtifactError, match="template"):
        missing_texts(bare, BEFORE)
