import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import log_loss as sklearn_log_loss
from sklearn.metrics import roc_auc_score

from llactr_core.errors import DataError
from llactr_core.metrics.probability import expected_calibration_error, log_loss, predicted_over_true
from llactr_core.metrics.ranking import auc, gauc, relative_improvement

SCORED = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 6)), min_size=2, max_size=60).filter(
    lambda rows: len({label for label, _ in rows}) == 2
)


@given(SCORED)
def test_auc_with_ties_is_that_of_sklearn(rows: list[tuple[int, int]]) -> None:
    labels, scores = zip(*rows, strict=True)
    assert auc(labels, scores) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)


ANY = st.one_of(
    st.sampled_from([0.0, -0.0, 5e-324, -5e-324, 1e308, -1e308, math.inf, -math.inf, 1.0]), st.floats(-2, 2)
)
NEAR = st.integers(0, 3).map(lambda steps: 0.5 + steps * 2.0**-53)  # neighbours among the numbers


def slow_auc(labels: Sequence[int], scores: Sequence[float]) -> float:
    """Every pair of a positive and a negative by itself."""
    positives = [score for label, score in zip(labels, scores, strict=True) if label]
    negatives = [score for label, score in zip(labels, scores, strict=True) if not label]
    won = sum((high > low) + (high == low) / 2 for high in positives for low in negatives)
    return won / (len(positives) * len(negatives))


@pytest.mark.parametrize("score", [ANY, NEAR], ids=["any", "near"])
@pytest.mark.parametrize("kind", [np.float64, np.float32])
@given(data=st.data())
def test_auc_counts_every_pair(score: st.SearchStrategy[float], kind: type[np.floating], data: st.DataObject) -> None:
    labels = [0, 1, *data.draw(st.lists(st.integers(0, 1), max_size=30))]
    scores = np.array(data.draw(st.lists(score, min_size=len(labels), max_size=len(labels)))).clip(-3e38, 3e38)
    assert auc(labels, scores.astype(kind)) == slow_auc(labels, scores.astype(kind).tolist())


def test_auc_of_many_rows_is_that_of_sklearn() -> None:
    random = np.random.default_rng(3)
    labels = random.integers(0, 2, 70_000)
    for scores in (random.normal(labels), random.integers(0, 99, 70_000), np.full(70_000, 0.3)):
        assert auc(labels, scores) == pytest.approx(roc_auc_score(labels, scores), abs=1e-14)
        assert auc(labels[::2], scores[::2]) == pytest.approx(roc_auc_score(labels[::2], scores[::2]), abs=1e-14)


def test_auc_of_one_class_is_no_number() -> None:
    assert math.isnan(auc([1, 1], [0.1, 0.2]))
    assert math.isnan(auc([0, 0], [0.1, 0.2]))


def test_auc_needs_a_label_for_each_score() -> None:
    with pytest.raises(DataError, match="3 labels for 2 scores"):
        auc([1, 0, 1], [0.1, 0.2])


def test_gauc_is_the_row_weighted_mean_over_groups_of_two_classes() -> None:
    labels = [1, 0, 1, 0, 0, 1]
    scores = [0.9, 0.1, 0.2, 0.8, 0.1, 0.5]
    groups = [7, 7, 3, 3, 3, 5]
    assert gauc(labels, scores, groups) == pytest.approx((1.0 * 2 + 0.5 * 3) / 5)


@given(SCORED, st.data())
def test_gauc_is_the_mean_of_the_auc_of_each_group(rows: list[tuple[int, int]], data: st.DataObject) -> None:
    labels, scores = np.array(rows).T
    groups = np.array(data.draw(st.lists(st.sampled_from("abc"), min_size=len(rows), max_size=len(rows))))
    parts = [groups == name for name in "abc" if len(set(labels[groups == name])) == 2]
    found = gauc(labels, scores, groups)
    if not parts:
        assert math.isnan(found)
        return
    wanted = [auc(labels[part], scores[part]) for part in parts]
    assert found == pytest.approx(np.average(wanted, weights=[part.sum() for part in parts]))


def test_log_loss_is_that_of_sklearn() -> None:
    random = np.random.default_rng(0)
    labels, scores = random.integers(0, 2, 500), random.random(500)
    assert log_loss(labels, scores) == pytest.approx(sklearn_log_loss(labels, scores), rel=1e-9)
    assert math.isfinite(log_loss([1, 0], [0.0, 1.0]))


def test_ece_of_a_constant_guess_is_its_distance_from_the_rate() -> None:
    labels = np.r_[np.ones(30), np.zeros(70)]
    assert expected_calibration_error(labels, np.full(100, 0.4)) == pytest.approx(0.1)


def test_ece_is_the_mean_gap_of_equal_mass_bins() -> None:
    random = np.random.default_rng(1)
    scores = np.sort(random.random(1500))
    labels = random.integers(0, 2, 1500)
    bins = [abs(scores[i : i + 100].mean() - labels[i : i + 100].mean()) for i in range(0, 1500, 100)]
    assert expected_calibration_error(labels, scores) == pytest.approx(np.mean(bins))


def test_volume_and_relative_improvement() -> None:
    assert predicted_over_true([1, 0, 0, 1], [0.5, 0.5, 0.5, 0.5]) == 1
    assert relative_improvement(0.75, 0.7) == pytest.approx(0.25)
