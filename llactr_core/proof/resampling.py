"""AUC under resampling: one sort for all resamples, which only change the weights of the rows."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
from numba import njit, types

Floats = npt.NDArray[np.float64]

_ORDER = types.Array(types.int64, 1, "C", readonly=True)
_FLAGS = types.Array(types.bool_, 1, "C", readonly=True)
_WEIGHTS = types.Array(types.float64, 1, "C", readonly=True)


@dataclass(frozen=True)
class Ranked:
    """The rows of a scored set in the order of their scores.

    Args:
        order: int64 [N], from the lowest score to the highest.
        ends: bool [N], whether a place of the order is the last one of a run of equal scores.
        positive: bool [N], the label of each place.
    """

    order: npt.NDArray[np.int64]
    ends: npt.NDArray[np.bool_]
    positive: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, labels: npt.ArrayLike, scores: npt.ArrayLike) -> Self:
        """Sort scores [N] with labels [N] of 0 and 1."""
        score = np.asarray(scores, np.float64)
        order = np.argsort(score, kind="stable").astype(np.int64)
        ends = np.append(np.diff(score[order]) != 0, True)
        return cls(order, ends, np.ascontiguousarray(np.asarray(labels)[order] != 0))

    def auc(self, weights: Floats) -> float:
        """The AUC when row i counts weights[i] times, [N]; NaN where a class has no weight."""
        return float(_weighted_auc(self.order, self.ends, self.positive, weights))


@njit(types.float64(_ORDER, _FLAGS, _FLAGS, _WEIGHTS), cache=True, nogil=True)
def _weighted_auc(order, ends, positive, weights):
    area = below = above = clicks = misses = 0.0
    for place in range(len(order)):
        weight = weights[order[place]]
        if positive[place]:
            clicks += weight
        else:
            misses += weight
        if ends[place]:
            area += clicks * (below + misses / 2)
            below += misses
            above += clicks
            clicks = misses = 0.0
    return area / (below * above) if below * above > 0 else np.nan
