"""The held-out histograms, and the distance of other rows from them."""

from pathlib import Path

import numpy as np
import pytest
from shop import shop_rows

from llactr_core.bundle import Bundle
from llactr_core.data.reference import Reference, psi
from llactr_core.errors import BundleError
from llactr_core.scorer import Scorer


@pytest.fixture(scope="module")
def scorer(shop_bundle: Bundle) -> Scorer:
    return Scorer.load(shop_bundle.path)


@pytest.fixture
def reference(shop_bundle: Bundle) -> Reference:
    return Reference.load(shop_bundle.path)


def distances(reference: Reference, scorer: Scorer, table: object) -> dict[str, float]:
    found = reference.count(scorer.encoder, scorer.encode(table))  # type: ignore[arg-type]
    return {name: psi(counts, found[name]) for name, counts in reference.fields.items()}


def test_psi_is_the_formula_and_nothing_for_equal_shares() -> None:
    a, b = np.array([100, 300, 600]), np.array([300, 300, 400])
    p, q = (a + 0.5) / 1001.5, (b + 0.5) / 1001.5
    assert psi(a, b) == pytest.approx(sum((qi - pi) * np.log(qi / pi) for pi, qi in zip(p, q, strict=True)))
    assert psi(a, a * 10) == pytest.approx(0, abs=1e-4)
    assert np.isfinite(psi([0, 0], [5, 0]))


def test_rows_of_the_same_kind_are_near_and_others_are_far(reference: Reference, scorer: Scorer) -> None:
    same = distances(reference, scorer, shop_rows(5000, 77))
    assert max(same[name] for name in ("colour", "price", "tags")) < 0.1
    moved = shop_rows(5000, 78).to_pydict()
    moved["colour"] = ["mauve"] * 5000
    moved["price"] = [None if i % 2 else 400.0 for i in range(5000)]
    far = distances(reference, scorer, moved)
    assert far["colour"] > 1
    assert far["price"] > 1
    assert far["tags"] < 0.1


def test_every_value_is_in_one_bin_and_bins_have_names(reference: Reference, scorer: Scorer) -> None:
    rows = [{"colour": "red", "price": 3.0, "user": 1}, {"colour": "mauve"}, {}]
    found = reference.count(scorer.encoder, scorer.encode(rows))
    for name in ("colour", "price", "user"):
        assert found[name].sum() == 3
        assert len(found[name]) == len(reference.labels[name])
    assert found["colour"][reference.labels["colour"].index("red")] == 1
    assert found["colour"][reference.labels["colour"].index("unseen")] == 1
    assert found["price"][reference.labels["price"].index("missing")] == 2


def test_scores_fall_into_bins_of_equal_mass(reference: Reference, scorer: Scorer) -> None:
    assert reference.scores.max() - reference.scores.min() <= 2
    assert reference.count_scores(np.array([0.0, 1.0]))[[0, -1]].tolist() == [1, 1]


def test_a_bundle_without_one_and_a_damaged_one_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="retrain"):
        Reference.load(tmp_path)
    (tmp_path / "reference.json").write_text('{"fields": []}')
    with pytest.raises(BundleError, match="damaged"):
        Reference.load(tmp_path)
