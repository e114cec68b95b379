from pathlib import Path

import pytest

from llactr_core.errors import SchemaError
from llactr_core.schema import Field, Kind, Schema, humanise


def two_fields() -> Schema:
    return Schema(name="shop", label="click", fields=(Field(name="UserID"), Field(name="price", kind=Kind.NUMERIC)))


def test_yaml_round_trip_keeps_the_fingerprint(tmp_path: Path) -> None:
    schema = two_fields()
    schema.save(tmp_path / "schema.yaml")
    again = Schema.load(tmp_path / "schema.yaml")
    assert again == schema
    assert again.fingerprint == schema.fingerprint


def test_every_rule_changes_the_fingerprint_and_only_meaning_the_semantic_one() -> None:
    schema = two_fields()
    rarer = schema.model_copy(update={"fields": (Field(name="UserID", min_count=2), schema.fields[1])})
    described = schema.model_copy(update={"fields": (Field(name="UserID", description="who"), schema.fields[1])})
    assert len({schema.fingerprint, rarer.fingerprint, described.fingerprint}) == 3
    assert rarer.semantic_fingerprint == schema.semantic_fingerprint != described.semantic_fingerprint


def test_the_name_of_a_schema_does_not_matter() -> None:
    assert two_fields().model_copy(update={"name": "other"}).fingerprint == two_fields().fingerprint


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"name": "s", "fields": []}, "fields"),
        ({"name": "s", "fields": [{"name": "a"}, {"name": "a"}]}, "given more than once: a"),
        ({"name": "s", "label": "a", "fields": [{"name": "a"}]}, "cannot be a field as well"),
        ({"name": "s", "fields": [{"name": "a", "part": "hour"}]}, "go together"),
        ({"name": "s", "fields": [{"name": "a\0b"}]}, "fields.0.name: .*NUL"),
        ({"name": "s", "fields": [{"name": "a", "description": "\0"}]}, "fields.0.description: .*NUL"),
        ({"name": "s", "fields": [{"name": "a", "kind": "number"}]}, "fields.0.kind"),
        ({"name": "s", "fields": [{"name": "a", "min_cuont": 2}]}, "min_cuont"),
        ({"name": "../s", "fields": [{"name": "a"}]}, "name"),
        ("text", "schema"),
        (None, "schema"),
    ],
)
def test_a_bad_schema_is_refused_by_name(content: object, said: str) -> None:
    with pytest.raises(SchemaError, match=said):
        Schema.parse(content)


def test_a_file_that_is_no_yaml_is_refused(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_bytes(b"\xff\xfe: [")
    with pytest.raises(SchemaError, match="cannot read the schema"):
        Schema.load(tmp_path / "s.yaml")
    with pytest.raises(SchemaError, match="cannot read the schema"):
        Schema.load(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("name", "words"),
    [("UserID", "user id"), ("emp_var_rate", "emp var rate"), ("HTTPServer", "http server"), ("_", "_")],
)
def test_names_become_words(name: str, words: str) -> None:
    assert humanise(name) == words
    assert Field(name=name).text == words
