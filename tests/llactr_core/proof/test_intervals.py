"""The bootstrap: exact on the whole, right in its coverage, and it draws users and not rows."""

import numpy as np
import pytest

from llactr_core.errors import DataError
from llactr_core.metrics.probability import log_loss
from llactr_core.metrics.ranking import auc, relative_improvement
from llactr_core.proof.intervals import Judged, compare
from llactr_core.proof.resampling import Ranked


def clicks_of(logits: np.ndarray, random: np.random.Generator) -> np.ndarray:
    return (random.random(len(logits)) < 1 / (1 + np.exp(-logits))).astype(np.float64)


def probabilities(logits: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-logits))


@pytest.mark.parametrize("seed", range(5))
def test_a_weighted_auc_is_that_of_repeated_rows_with_ties_too(seed: int) -> None:
    random = np.random.default_rng(seed)
    labels, scores = random.integers(0, 2, 200), random.integers(0, 30, 200) / 30
    weights = random.integers(0, 4, 200)
    repeated = np.repeat(np.arange(200), weights)
    expected = auc(labels[repeated], scores[repeated])
    assert Ranked.of(labels, scores).auc(weights.astype(np.float64)) == pytest.approx(expected, abs=1e-12)


def test_one_class_has_no_auc() -> None:
    assert np.isnan(Ranked.of([1, 0, 1], [0.1, 0.2, 0.3]).auc(np.array([1.0, 0.0, 1.0])))


def test_the_values_are_means_over_seeds_and_backbones() -> None:
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, 300).astype(np.float64)
    arm = {name: random.random((3, 300)) for name in ("fm", "deepfm")}
    base = {name: 0.2 * labels + random.random((3, 300)) for name in ("fm", "deepfm")}
    found = compare(Judged(labels, None), arm, base, resamples=20)
    aucs, gains, losses = [], [], []
    for name in arm:
        mine, theirs = (np.mean([auc(labels, one) for one in its[name]]) for its in (arm, base))
        aucs.append(mine - theirs)
        gains.append(relative_improvement(float(mine), float(theirs)))
        losses.append(
            np.mean([log_loss(labels, x) - log_loss(labels, y) for x, y in zip(arm[name], base[name], strict=True)])
        )
    assert found.auc.value == pytest.approx(np.mean(aucs))
    assert found.relaimpr.value == pytest.approx(np.mean(gains))
    assert found.logloss.value == pytest.approx(np.mean(losses))
    assert compare(Judged(labels, None), arm, base, resamples=20) == found, "the same seed, the same intervals"


def simulated(random: np.random.Generator, gain: float) -> tuple[Judged, dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Users of 10 rows with a taste of their own; both arms see the same signal with noise, one with less of it."""
    users = np.repeat(np.arange(60), 10)
    signal = random.normal(size=len(users)) + random.normal(size=60)[users]
    labels = clicks_of(signal, random)
    noise = [random.normal(size=(3, len(users))) for _ in range(2)]
    arm, base = (probabilities(signal + size * one) for size, one in zip((1.5 - gain, 1.5), noise, strict=True))
    return Judged(labels, users.astype(np.int64)), {"fm": arm}, {"fm": base}


def test_the_null_is_rejected_no_more_often_than_it_should_and_an_effect_is_found() -> None:
    random = np.random.default_rng(11)
    rejected = found = 0
    for _ in range(100):
        null = compare(*simulated(random, 0.0), resamples=150).auc
        rejected += null.low > 0 or null.high < 0
        found += compare(*simulated(random, 1.0), resamples=150).auc.is_above_zero
    assert rejected <= 12, "5 of 100 expected; more than 12 has a chance of 1 in 1000"
    assert found >= 95


def test_rows_of_one_user_are_drawn_together() -> None:
    random = np.random.default_rng(3)
    users = np.repeat(np.arange(20), 50)
    wins = random.normal(size=20)[users]  # for some users one arm is better, for others the other
    labels = random.integers(0, 2, len(users)).astype(np.float64)
    right = np.where(labels > 0, 1.0, -1.0)
    arm, base = (probabilities(right * sign * wins + random.normal(size=len(users)))[None] for sign in (1, -1))
    by_user = compare(Judged(labels, users), {"fm": arm}, {"fm": base}, resamples=200).auc
    by_row = compare(Judged(labels, None), {"fm": arm}, {"fm": base}, resamples=200).auc
    assert by_user.high - by_user.low > 2 * (by_row.high - by_row.low)
    assert by_user.detectable > 2 * by_row.detectable


def test_arms_that_cannot_be_compared_are_refused() -> None:
    judged = Judged(np.array([0.0, 1.0]), None)
    two, three = np.full((1, 2), 0.5), np.full((1, 3), 0.5)
    for arm, base in (({}, {}), ({"fm": two}, {"deepfm": two}), ({"fm": three}, {"fm": three})):
        with pytest.raises(DataError):
            compare(judged, arm, base)


def test_few_users_are_not_drawn_from_and_unknown_ones_stand_alone() -> None:
    labels = np.tile([0.0, 1.0], 50)
    judged, told = Judged.of(labels, np.repeat(np.arange(4), 25))
    assert judged.groups is None
    assert "4 of them, fewer than 10" in told[0]
    judged, told = Judged.of(labels, np.repeat(np.arange(-1, 19), 5))
    assert told == []
    assert len(np.unique(judged.cluster_of())) == 19 + 5


def test_against_a_base_below_chance_auc_speaks_and_relaimpr_does_not() -> None:
    random = np.random.default_rng(4)
    labels = (random.random(400) < 0.5).astype(np.float64)
    worse, better = (probabilities(sign * (labels - 0.5) + random.normal(size=400)) for sign in (-1.0, 1.0))
    found = compare(Judged(labels, None), {"fm": better[None]}, {"fm": worse[None]})
    assert found.auc.low > 0
    assert np.isnan(found.relaimpr.value)
    assert not np.isfinite([found.relaimpr.low, found.relaimpr.high]).any()
