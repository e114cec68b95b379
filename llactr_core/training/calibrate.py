"""Fits the maps of `llactr_core.calibration` to held-out rows, and chooses one of them."""

from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np
import numpy.typing as npt

from llactr_core.calibration import Calibrator, sigmoid

Floats = npt.NDArray[np.float64]
Wanted = Literal["auto", "platt", "beta", "isotonic", "none"]
FEWEST = 30  # clicks, and rows without one: with fewer a fit is mostly noise
FOLDS = 5
STEPS = 50
PRIOR = 1.0  # how strongly coefficients are held near the identity, in rows of information
LEAST_SLOPE = 1e-3
BLOCK_ROWS = 25


def calibrate(logits: npt.ArrayLike, labels: npt.ArrayLike, wanted: Wanted = "auto") -> Calibrator:
    """The map for these rows.

    With "auto" the method is chosen by its LogLoss in a 5-fold cross-validation, and a simpler one is kept unless the
    more flexible one is better by more than one standard error of the paired difference.

    Args:
        logits: [B], finite.
        labels: 0 or 1, [B].
        wanted: a method, or "auto". With fewer than 30 rows of a class it is the identity whatever is wanted.
    """
    z, y = np.asarray(logits, np.float64), np.asarray(labels, np.float64)
    clicks = int(y.sum())
    if wanted == "none" or min(clicks, len(y) - clicks) < FEWEST or np.ptp(z) == 0:
        return Calibrator()
    if wanted != "auto":
        return FITS[wanted](z, y)
    losses = {name: _held_out_losses(fit, z, y) for name, fit in FITS.items()}
    best = min(losses, key=lambda name: float(losses[name].mean()))
    for name, loss in losses.items():  # from the simplest to the most flexible
        difference = loss - losses[best]
        if difference.mean() <= difference.std() / np.sqrt(len(difference)):
            return FITS[name](z, y)
    return FITS[best](z, y)


def fit_platt(z: Floats, y: Floats) -> Calibrator:
    """Logistic regression on the logit, with Platt's smoothed targets.

    A slope that would not be positive becomes the least one, about the mean click rate.
    """
    clicks = y.sum()
    targets = np.where(y > 0, (clicks + 1) / (clicks + 2), 1 / (len(y) - clicks + 2))
    a, b = _logistic(np.column_stack([z, np.ones_like(z)]), targets, np.array([1.0, 0.0]))
    if a < LEAST_SLOPE:
        rate = targets.mean()
        a, b = LEAST_SLOPE, np.log(rate / (1 - rate)) - LEAST_SLOPE * z.mean()
    return Calibrator("platt", (float(a), float(b)))


def fit_beta(z: Floats, y: Floats) -> Calibrator:
    """Logistic regression on log s and -log(1 - s), both with a positive coefficient.

    One that would not be positive becomes the least one, and the others are fitted without it; where neither would
    be positive it is Platt's map, which is the beta map of two equal coefficients.
    """
    features = np.column_stack([-np.logaddexp(0, -z), np.logaddexp(0, z), np.ones_like(z)])
    start = np.array([1.0, 1.0, 0.0])
    found = _logistic(features, y, start)
    for place in (0, 1):
        if found[place] < LEAST_SLOPE:
            kept = [1 - place, 2]
            found[kept] = _logistic(features[:, kept], y, start[kept])
            found[place] = LEAST_SLOPE
    if found[:2].min() < LEAST_SLOPE:
        return fit_platt(z, y)
    return Calibrator("beta", tuple(float(c) for c in found))


def fit_isotonic(z: Floats, y: Floats) -> Calibrator:
    """Pool adjacent violators over blocks of 25 rows; each pool becomes a knot at its mean logit and click rate."""
    order = np.argsort(z, kind="stable")
    z, y = z[order], y[order]
    cuts = np.unique(np.searchsorted(z, z[::BLOCK_ROWS]))[1:]  # equal logits stay in one block
    blocks = _pooled(list(zip(np.split(z, cuts), np.split(y, cuts), strict=True)))
    rate = y.mean()
    knots: list[tuple[float, float]] = []
    for rows, clicks, mean in blocks:
        p = (clicks + rate) / (rows + 1)  # a block without a click still has a finite logit
        f = float(np.log(p / (1 - p)))
        if knots:
            before = knots[-1]
            f = max(f, before[1] + LEAST_SLOPE * (mean - before[0]))
            if mean <= before[0] or f <= before[1]:  # the two differ by no more than rounding
                continue
        knots.append((mean, f))
    return Calibrator("isotonic", knots=tuple(knots)) if len(knots) > 1 else fit_platt(z, y)


FITS: Mapping[str, Callable[[Floats, Floats], Calibrator]] = {
    "identity": lambda _z, _y: Calibrator(),
    "platt": fit_platt,
    "beta": fit_beta,
    "isotonic": fit_isotonic,
}


def _pooled(parts: list[tuple[Floats, Floats]]) -> list[tuple[float, float, float]]:
    """(rows, clicks, mean logit) of blocks whose click rates increase."""
    blocks: list[tuple[float, float, float]] = []
    for z, y in parts:
        block = (float(len(z)), float(y.sum()), float(z.mean()))
        while blocks and blocks[-1][1] / blocks[-1][0] >= block[1] / block[0]:
            rows, clicks, mean = blocks.pop()
            total = rows + block[0]
            block = (total, clicks + block[1], (mean * rows + block[2] * block[0]) / total)
        blocks.append(block)
    return blocks


def _logistic(features: Floats, targets: Floats, start: Floats) -> Floats:
    """Coefficients by Newton's method with halved steps, held near `start` by a weak prior. [P] from [B, P]."""

    def objective(c: Floats) -> float:
        u = features @ c
        return float((np.logaddexp(0, u) - targets * u).sum() + PRIOR / 2 * ((c - start) ** 2).sum())

    found, value = start.copy(), objective(start)
    for _ in range(STEPS):
        p = sigmoid(features @ found)
        gradient = features.T @ (p - targets) + PRIOR * (found - start)
        curvature = (features * (p * (1 - p))[:, None]).T @ features + PRIOR * np.eye(len(start))
        step = np.linalg.solve(curvature, gradient)
        while objective(found - step) > value and np.abs(step).max() > 1e-12:
            step = step / 2
        found, before = found - step, value
        value = objective(found)
        if before - value < 1e-10 * len(targets):
            break
    return found


def _held_out_losses(fit: Callable[[Floats, Floats], Calibrator], z: Floats, y: Floats) -> Floats:
    """LogLoss of each row by the map that was fitted without the row's fold, [B]."""
    fold = np.arange(len(z)) % FOLDS
    losses = np.empty_like(z)
    for number in range(FOLDS):
        out = fold == number
        p = fit(z[~out], y[~out]).probabilities(z[out])
        losses[out] = -(y[out] * np.log(p) + (1 - y[out]) * np.log1p(-p))
    return losses
