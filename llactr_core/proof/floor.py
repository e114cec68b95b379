"""The floor of every table: a sum of smoothed log-odds per value, counted on train, without any learning."""

import numpy as np
import numpy.typing as npt

from llactr_core.training.data import Rows

SMOOTHING = 20.0  # rows at the base rate that every value is given


def floor_scores(train: Rows, rows: Rows, size: int) -> npt.NDArray[np.float64]:
    """Probabilities [N] of rows: sigmoid of the base rate's log-odds + sum over slots of each value's difference to it.

    A value seen c times with k clicks has the log-odds of (k + m p) / (c + m), with p the share of clicks in train and
    m = 20; ids that train did not have differ by nothing.

    Args:
        train: what is counted.
        rows: what is scored.
        size: V, the number of ids.
    """
    labels = train.labels.numpy().astype(np.float64)
    ids, weights = _flat(train)
    seen = np.bincount(ids, weights, minlength=size)
    clicks = np.bincount(ids, weights * np.repeat(labels, train.ids.shape[1]), minlength=size)
    share = labels.mean()
    rate = (clicks + SMOOTHING * share) / (seen + SMOOTHING)
    base = np.log(share / (1 - share))
    odds = np.log(rate / (1 - rate)) - base
    its_ids, its_weights = _flat(rows)
    logits = base + (odds[its_ids] * its_weights).reshape(rows.ids.shape).sum(1)
    return np.asarray(1 / (1 + np.exp(-logits)), np.float64)


def _flat(rows: Rows) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    ids = rows.ids.numpy().astype(np.int64).ravel()
    weights = np.ones(len(ids)) if rows.weights is None else rows.weights.numpy().astype(np.float64).ravel()
    return ids, weights
