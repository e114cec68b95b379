"""AUC, grouped AUC and the relative improvement."""

import math

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def auc(labels: npt.ArrayLike, scores: npt.ArrayLike) -> float:
    """Area under the ROC curve: P(score of a positive > score of a negative), ties counted half; NaN for one class.

    Args:
        labels: 0 or 1, [B].
        scores: any finite numbers, [B].
    """
    y = np.asarray(labels, np.float64)
    s = np.asarray(scores, np.float64)
    order = np.argsort(s, kind="stable")
    y, s = y[order], s[order]
    ends = np.flatnonzero(np.append(s[1:] != s[:-1], True))  # last row of each run of equal scores
    positives = np.diff(np.concatenate([[0.0], np.cumsum(y)[ends]]))
    negatives = np.diff(np.concatenate([[0], ends + 1])) - positives
    pairs = positives.sum() * negatives.sum()
    if pairs == 0:
        return math.nan
    below = np.cumsum(negatives) - negatives
    return float((positives * (below + negatives / 2)).sum() / pairs)


def gauc(labels: npt.ArrayLike, scores: npt.ArrayLike, groups: npt.ArrayLike) -> float:
    """AUC within each group, averaged by the groups' rows; groups of one class are left out (Zhu et al., KDD 2017).

    Args:
        labels: 0 or 1, [B].
        scores: [B].
        groups: the group of each row, [B] (users, as a rule).
    """
    y = np.asarray(labels, np.float64)
    s = np.asarray(scores, np.float64)
    order = np.argsort(np.asarray(groups), kind="stable")
    y, s, g = y[order], s[order], np.asarray(groups)[order]
    bounds = np.flatnonzero(np.append(True, g[1:] != g[:-1]))
    total = weight = 0.0
    for start, end in zip(bounds, np.append(bounds[1:], len(g)), strict=True):
        value = auc(y[start:end], s[start:end])
        if not math.isnan(value):
            total += value * (end - start)
            weight += end - start
    return float(total / weight) if weight else math.nan


def relative_improvement(value: float, base: float) -> float:
    """RelaImpr = (AUC - 0.5) / (AUC_base - 0.5) - 1, as a share (0.02 is 2 %) (Yan et al., ICML 2014)."""
    return (value - 0.5) / (base - 0.5) - 1
