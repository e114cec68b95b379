"""What a perfectly calibrated model would show: calibration measured on labels that are drawn from the scores."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from llactr_core.metrics.probability import equal_mass_bins

DRAWS = 200
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Perfect:
    """The 95 % range of ECE (its upper end) and of predicted/true, and whether the model that was measured is within.

    ECE is biased upwards with few rows even where every score is right, so it is one-sided (Roelofs et al., AISTATS
    2022, on the bias).
    """

    ece: float
    predicted_over_true: tuple[float, float]
    within: bool


def perfect_calibration(labels: npt.ArrayLike, scores: npt.ArrayLike, seed: int = 0) -> Perfect:
    """Draw labels from scores [S, N] of S seeds, and compare with the labels [N] that came; means over seeds."""
    p = np.atleast_2d(np.asarray(scores, np.float64))
    bins = [equal_mass_bins(one) for one in p]
    random = np.random.default_rng(seed)
    drawn = np.array([_measured(p, bins, random.random(p.shape[1]) < p) for _ in range(DRAWS)])
    most = float(np.quantile(drawn[:, 0], 0.95))
    low, high = np.quantile(drawn[:, 1], [0.025, 0.975])
    ece, ratio = _measured(p, bins, np.broadcast_to(np.asarray(labels) != 0, p.shape))
    return Perfect(most, (float(low), float(high)), bool(ece <= most and low <= ratio <= high))


def _measured(p: Floats, bins: list[npt.NDArray[np.int64]], clicks: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """(ECE, predicted/true), the means over seeds."""
    gaps = [np.abs(np.bincount(its, one - y)).sum() for its, one, y in zip(bins, p, clicks, strict=True)]
    ratios = p.sum(1) / np.maximum(clicks.sum(1), 1)
    return float(np.mean(gaps) / p.shape[1]), float(ratios.mean())
