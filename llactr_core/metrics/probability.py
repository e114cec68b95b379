"""How good the probabilities are: LogLoss, calibration error, predicted over true."""

import numpy as np
import numpy.typing as npt

SMALLEST = 1e-7


def log_loss(labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> float:
    """Mean negative log-likelihood in nats; probabilities are clipped to [1e-7, 1 - 1e-7]."""
    y = np.asarray(labels, np.float64)
    p = np.clip(np.asarray(probabilities, np.float64), SMALLEST, 1 - SMALLEST)
    return float(-(y * np.log(p) + (1 - y) * np.log1p(-p)).mean())


def expected_calibration_error(labels: npt.ArrayLike, probabilities: npt.ArrayLike, bins: int = 15) -> float:
    """ECE over bins of equal mass: mean |mean probability - share of positives|, weighted by the bins' rows.

    Equal probabilities never fall into two bins apart: the rows of a run of ties share the bin of their middle.
    """
    y = np.asarray(labels, np.float64)
    p = np.asarray(probabilities, np.float64)
    gaps = np.bincount(equal_mass_bins(p, bins), weights=p - y, minlength=bins)
    return float(np.abs(gaps).sum() / len(p))


def equal_mass_bins(probabilities: npt.ArrayLike, bins: int = 15) -> npt.NDArray[np.int64]:
    """The bin of each row, int64 [N] below `bins`."""
    p = np.asarray(probabilities, np.float64)
    _, inverse, sizes = np.unique(p, return_inverse=True, return_counts=True)
    middle = np.cumsum(sizes) - sizes / 2
    which: npt.NDArray[np.int64] = np.minimum((middle / len(p) * bins).astype(np.int64), bins - 1)[inverse]
    return which


def predicted_over_true(labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> float:
    """Sum of probabilities over the number of positives: 1 where the model predicts the right volume."""
    return float(np.asarray(probabilities, np.float64).sum() / np.asarray(labels, np.float64).sum())
