import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import log_loss as sklearn_log_loss
from sklearn.metrics import roc_auc_score

from llactr_core.metrics.probability import expected_calibration_error, log_loss, predicted_over_true
from llactr_core.metrics.ranking import auc, gauc, relative_improvement

SCORED = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 6)), min_size=2, max_size=60).filter(
    lambda rows: len({label for label, _ in rows}) == 2
)


@given(SCORED)
def test_auc_with_ties_is_that_of_sklearn(rows: list[tuple[int, int]]) -> None:
    labels, scores = zip(*rows, strict=True)
    assert auc(labels, scores) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)


def test_auc_of_one_class_is_no_number() -> None:
    assert math.isnan(auc([1, 1], [0.1, 0.2]))


def test_gauc_is_the_row_weighted_mean_over_groups_of_two_classes() -> None:
    labels = [1, 0, 1, 0, 0, 1]
    scores = [0.9, 0.1, 0.2, 0.8, 0.1, 0.5]
    groups = [7, 7, 3, 3, 3, 5]
    assert gauc(labels, scores, groups) == pytest.approx((1.0 * 2 + 0.5 * 3) / 5)


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
