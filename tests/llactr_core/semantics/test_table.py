import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from llactr_core.errors import ArtifactError, SchemaError
from llactr_core.semantics.table import FieldTable


def _table(**changes: object) -> FieldTable:
    vectors = np.random.default_rng(0).normal(size=(3, 7)).astype(np.float32)
    parts: dict[str, object] = {
        "fields": ("user", "prix €", "c"),
        "vectors": vectors,
        "model": "m",
        "recipe": "r",
        "provenance": {"code_version": "0"},
        "metrics": {"seconds": 1.5},
    }
    return FieldTable(**{**parts, **changes})


def test_a_saved_table_comes_back_bit_for_bit(tmp_path: Path):
    table = _table()
    table.save(tmp_path / "t.safetensors")
    again = FieldTable.load(tmp_path / "t.safetensors")
    assert again.vectors.tobytes() == table.vectors.tobytes()
    assert (again.fields, again.model, again.recipe) == (table.fields, table.model, table.recipe)
    assert (again.provenance, again.metrics) == (table.provenance, table.metrics)
    assert again.version == table.version
    assert [path.name for path in tmp_path.iterdir()] == ["t.safetensors"]


def test_json_gives_back_the_same_bits():
    table = _table()
    again = FieldTable.from_json(json.loads(json.dumps(table.to_json())))
    assert again == table
    assert again.vectors.tobytes() == table.vectors.tobytes()


def test_the_version_follows_names_vectors_and_recipe_only():
    table = _table()
    moved = table.vectors.copy()
    moved[0, 0] = np.nextafter(moved[0, 0], np.float32(9))
    others = [_table(vectors=moved), _table(recipe="r2"), _table(fields=("user", "b", "c"))]
    assert len({table.version, *(other.version for other in others)}) == 4
    assert _table(metrics={}, provenance={}, model="n").version == table.version


def test_every_flipped_byte_is_noticed():
    content = _table().to_bytes()
    random = np.random.default_rng(1)
    for position in [*random.integers(0, len(content), 200), len(content) - 1]:
        damaged = bytearray(content)
        damaged[position] ^= 0x04
        try:
            survived = FieldTable.from_bytes(bytes(damaged))
        except ArtifactError:
            continue
        # Blanks in the JSON header carry nothing: then the whole content must still be the same.
        assert survived.to_json() == _table().to_json(), position


@pytest.mark.parametrize("length", [0, 7, 8, 100, -1])
def test_a_truncated_file_is_refused(length: int):
    with pytest.raises(ArtifactError):
        FieldTable.from_bytes(_table().to_bytes()[:length])


def test_foreign_and_missing_files_are_refused(tmp_path: Path):
    save_file({"vectors": np.zeros((1, 1), np.float32)}, tmp_path / "foreign")
    with pytest.raises(ArtifactError, match="format None"):
        FieldTable.load(tmp_path / "foreign")
    with pytest.raises(ArtifactError, match="cannot read"):
        FieldTable.load(tmp_path / "absent")


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        (np.zeros((3, 2)), "float32; given float64"),
        (np.zeros((2, 2), np.float32), "K = 3"),
        (np.zeros((3, 0), np.float32), "K = 3"),
        (np.full((3, 2), np.nan, np.float32), "NaN"),
    ],
)
def test_wrong_vectors_are_refused(vectors: np.ndarray, message: str):
    with pytest.raises(ArtifactError, match=message):
        _table(vectors=vectors)


def test_names_given_twice_are_refused():
    with pytest.raises(ArtifactError, match="unique"):
        _table(fields=("a", "a", "b"))


def test_json_that_contradicts_itself_is_refused():
    content = _table().to_json()
    with pytest.raises(ArtifactError, match="says version"):
        FieldTable.from_json({**content, "recipe": "other"})
    with pytest.raises(ArtifactError, match="no field table"):
        FieldTable.from_json({"fields": ["a"]})


def test_vectors_cannot_be_changed_and_are_no_view_of_the_callers():
    mine = np.ones((3, 2), np.float32)
    table = _table(vectors=mine)
    mine[0] = 5
    assert table.vectors[0, 0] == 1
    with pytest.raises(ValueError, match="read-only"):
        table.vectors[0] = 2


def test_similarity_is_the_cosine():
    vectors = np.array([[2, 0], [0, 3], [1, 1]], dtype=np.float32)
    half = 2**-0.5
    expected = [[1, 0, half], [0, 1, half], [half, half, 1]]
    np.testing.assert_allclose(_table(vectors=vectors).similarity(), expected, atol=1e-7)
    zero = _table(vectors=vectors * np.array([[0], [1], [1]], np.float32)).similarity()
    np.testing.assert_array_equal(zero[0], 0)


def test_select_orders_by_name():
    table = _table()
    np.testing.assert_array_equal(table.select(("c", "user")), table.vectors[[2, 0]])
    with pytest.raises(SchemaError, match="no field 'x'"):
        table.select(("x",))
