"""What a comparison says of two tables, against the plain formulas."""

import math
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from llactr_core.semantics.table import FieldTable
from services.llm.tables.comparison import compare


def table(fields: str, vectors: object, model: str = "tiny", digest: str = "d") -> FieldTable:
    content = np.array(vectors, dtype=np.float32)
    return FieldTable(tuple(fields), content, model, "recipe", provenance={"model_digest": digest})


def test_cosines_and_the_change_of_the_similarity() -> None:
    a = table("xyz", [[1, 0], [0, 1], [1, 1]])
    b = table("wyx", [[5, 5], [3, 3], [2, 0]])  # x as it was, y turned by 45 degrees
    found = compare(a, b)
    assert (found.shared, found.only_a, found.only_b) == (("x", "y"), ("z",), ("w",))
    assert found.cosines is not None
    np.testing.assert_allclose(found.cosines, [1.0, math.sqrt(0.5)], rtol=1e-6)
    np.testing.assert_allclose(found.change, [[0, math.sqrt(0.5)], [math.sqrt(0.5), 0]], rtol=1e-6)
    assert found.largest_change == pytest.approx(math.sqrt(0.5))
    assert found.mean_change == pytest.approx(math.sqrt(0.5))


def test_a_rotation_changes_cosines_but_not_the_similarity() -> None:
    vectors = np.random.default_rng(0).standard_normal((4, 6)).astype(np.float32)
    turn, _ = np.linalg.qr(np.random.default_rng(1).standard_normal((6, 6)))
    found = compare(table("abcd", vectors), table("abcd", vectors @ turn))
    assert found.cosines is not None
    assert found.cosines.max() < 0.99
    assert found.largest_change < 1e-5


@pytest.mark.parametrize(
    "other",
    [table("ab", [[1, 0, 0], [0, 1, 0]]), table("ab", np.eye(2), model="big"), table("ab", np.eye(2), digest="e")],
    ids=["width", "model", "weights"],
)
def test_other_models_have_no_common_axes(other: FieldTable) -> None:
    found = compare(table("ab", np.eye(2)), other)
    assert found.cosines is None
    assert found.largest_change == 0.0


def test_tables_that_share_nothing() -> None:
    found = compare(table("a", [[1, 0]]), table("b", [[0, 0]]))
    assert (found.shared, found.largest_change, found.mean_change) == ((), 0.0, 0.0)
    assert compare(table("a", [[1, 0]]), table("a", [[0, 0]])).cosines == [0.0]


def test_over_http(house: Any) -> None:
    a, b = (house.published("compared", ssft={"skip": True, "seed": seed}) for seed in (1, 2))
    answer = house.anyone.get("/v1/fields/compared/compare").raise_for_status().json()
    assert (answer["a"]["version"], answer["b"]["version"]) == (a, b)
    assert answer["a"] == {"version": a, "model": "tiny", "width": 32}
    assert [one["field"] for one in answer["shared"]] == ["user_gender", "movie_genre", "zip"]
    assert [one["cosine"] for one in answer["shared"]] == pytest.approx([1.0, 1.0, 1.0])  # the untuned model both times
    assert answer["similarity_change"] == {"largest": 0.0, "mean": 0.0, "matrix": [[0.0] * 3] * 3}
    turned = house.anyone.get("/v1/fields/compared/compare", params={"a": b, "b": "previous"}).json()
    assert (turned["a"]["version"], turned["b"]["version"]) == (b, a)


def test_unknown_tables_are_404(app: TestClient) -> None:
    answer = app.get("/v1/fields/none/compare")
    assert (answer.status_code, answer.json()["code"]) == (404, "not-found")
