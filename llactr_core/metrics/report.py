"""The metrics of one set of scored rows, under their fixed names."""

import math

import numpy.typing as npt

from llactr_core.metrics.probability import expected_calibration_error, log_loss, predicted_over_true
from llactr_core.metrics.ranking import auc, gauc


def evaluate(
    labels: npt.ArrayLike, probabilities: npt.ArrayLike, groups: npt.ArrayLike | None = None
) -> dict[str, float]:
    """AUC, LogLoss, ECE and predicted/true, and GAUC where a group has both classes; all finite if the labels have."""
    report = {
        "auc": auc(labels, probabilities),
        "logloss": log_loss(labels, probabilities),
        "ece": expected_calibration_error(labels, probabilities),
        "predicted_over_true": predicted_over_true(labels, probabilities),
    }
    grouped = math.nan if groups is None else gauc(labels, probabilities, groups)
    if not math.isnan(grouped):
        report["gauc"] = grouped
    return report
