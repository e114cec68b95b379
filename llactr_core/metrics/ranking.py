"""AUC, grouped AUC and the relative improvement."""

import math

import numpy as np
import numpy.typing as npt

from llactr_core.metrics.sorting import wins


def auc(labels: npt.ArrayLike, scores: npt.ArrayLike) -> float:
    """Area under the ROC curve: P(score of a positive > score of a negative), ties counted half; NaN for one class.

    Args:
        labels: 0 or 1, [B].
        scores: any finite numbers, [B].
    """
    is_positive = np.asarray(labels) != 0
    pairs = int(is_positive.sum()) * int((~is_positive).sum())
    if pairs == 0:
        return math.nan
    won, lost = wins(is_positive, np.asarray(scores, np.float64))
    return (pairs + won - lost) / (2 * pairs)


def gauc(labels: npt.ArrayLike, scores: npt.ArrayLike, groups: npt.ArrayLike) -> float:
    """AUC within each group, averaged by the groups' rows; groups of one class are left out (Zhu et al., KDD 2017).

    Args:
        labels: 0 or 1, [B].
        scores: [B].
        groups: the group of each row, [B] (users, as a rule).
    """
    group, score = np.asarray(groups), np.asarray(scores, np.float64)
    order = np.lexsort((score, group))
    group, score = group[order], score[order]
    is_group = np.append(group[1:] != group[:-1], True)  # last row of each group
    is_run = is_group | np.append(score[1:] != score[:-1], True)  # last row of each run of equal scores in a group
    ends = np.flatnonzero(is_run)
    owners = (np.cumsum(is_group) - is_group)[ends]  # the group of each run
    positives = np.diff(np.cumsum(np.asarray(labels)[order] != 0)[ends], prepend=0)
    negatives = np.diff(ends, prepend=-1) - positives
    all_positives, all_negatives = np.bincount(owners, positives), np.bincount(owners, negatives)
    below = np.cumsum(negatives) - negatives - (np.cumsum(all_negatives) - all_negatives)[owners]
    area = np.bincount(owners, positives * (below + negatives / 2))
    pairs = all_positives * all_negatives
    rows = (all_positives + all_negatives)[pairs > 0]
    return float((area[pairs > 0] / pairs[pairs > 0] * rows).sum() / rows.sum()) if len(rows) else math.nan


def relative_improvement(value: float, base: float) -> float:
    """RelaImpr = (AUC - 0.5) / (AUC_base - 0.5) - 1, as a share (0.02 is 2 %) (Yan et al., ICML 2014)."""
    return (value - 0.5) / (base - 0.5) - 1
