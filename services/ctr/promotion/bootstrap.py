"""What two models are worth on the same rows, and how sure that is: a paired bootstrap over groups of rows.

The rows of a group (a user) are drawn together, because they are alike (Efron and Tibshirani, An Introduction to the
Bootstrap, 1993, ch. 8); both models see the same draws, so what makes a draw easy cancels out of their difference.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Statistic: TypeAlias = Callable[[Floats], float]  # of the rows with these weights, [B]

WHOLE = 0.99  # so many of the draws need a number before an interval is made of them


@dataclass(frozen=True)
class Interval:
    """A number with its interval; both ends are NaN where too few draws gave a number."""

    value: float
    low: float
    high: float


class Ranking:
    """The AUC of fixed scores under weights that change from draw to draw.

    Args:
        labels: 0 or 1, [B].
        scores: finite numbers, [B].
    """

    def __init__(self, labels: Floats, scores: Floats) -> None:
        self._order = np.argsort(scores, kind="stable")
        ranked = scores[self._order]
        self._labels = labels[self._order]
        self._starts = np.flatnonzero(np.append(True, ranked[1:] != ranked[:-1]))  # of the runs of equal scores

    def auc(self, weights: Floats) -> float:
        """P(a click scores higher than a row without), ties counted half; NaN for one class. `weights`: [B]."""
        ranked = weights[self._order]
        clicks = np.add.reduceat(ranked * self._labels, self._starts)
        others = np.add.reduceat(ranked, self._starts) - clicks
        pairs = float(clicks.sum() * others.sum())
        if pairs == 0:
            return math.nan
        return float(clicks @ (np.cumsum(others) - others / 2)) / pairs


@dataclass(frozen=True)
class Bootstrap:
    """How the draws are made.

    Args:
        groups: the group of each row, integers from 0 on, [B].
        times: how many draws.
        seed: of the draws.
        confidence: of the percentile intervals.
    """

    groups: Integers
    times: int
    seed: int
    confidence: float

    def intervals(self, statistics: Sequence[Statistic]) -> list[Interval]:
        """Each statistic of the rows as they are, with its interval over the draws."""
        every = np.ones(len(self.groups))
        drawn = np.array([[statistic(weights) for statistic in statistics] for weights in self._draws()])
        return [self._interval(one(every), column) for one, column in zip(statistics, drawn.T, strict=True)]

    def _draws(self) -> Iterator[Floats]:
        """How often each row is in each draw, [B]."""
        random = np.random.default_rng(self.seed)
        count = int(self.groups.max()) + 1
        for _ in range(self.times):
            drawn = random.integers(count, size=count, dtype=np.int32)
            yield np.bincount(drawn, minlength=count).astype(np.float64)[self.groups]

    def _interval(self, value: float, drawn: Floats) -> Interval:
        finite = drawn[np.isfinite(drawn)]
        if len(finite) < WHOLE * len(drawn):
            return Interval(value, math.nan, math.nan)
        tail = (1 - self.confidence) / 2
        low, high = np.quantile(finite, [tail, 1 - tail])
        return Interval(value, float(low), float(high))


def auc_difference(labels: Floats, challenger: Floats, champion: Floats) -> Statistic:
    """AUC(challenger) - AUC(champion) on the same rows. All are [B]."""
    one, other = Ranking(labels, challenger), Ranking(labels, champion)
    return lambda weights: one.auc(weights) - other.auc(weights)


def volume_ratio(labels: Floats, probabilities: Floats) -> Statistic:
    """Sum of the probabilities over the number of clicks; NaN without clicks. Both are [B]."""

    def ratio(weights: Floats) -> float:
        clicks = float(weights @ labels)
        return float(weights @ probabilities) / clicks if clicks else math.nan

    return ratio
