"""The fits mend what is wrong, leave alone what is right, and never fail on little data."""

import numpy as np
import numpy.typing as npt
import pytest

from llactr_core.calibration import sigmoid
from llactr_core.metrics.probability import log_loss
from llactr_core.training.calibrate import FITS, Wanted, calibrate

Floats = npt.NDArray[np.float64]


def drawn(rows: int, truth: object, seed: int = 0) -> tuple[Floats, Floats]:
    """Logits, and clicks whose probability is sigmoid(truth(logit))."""
    random = np.random.default_rng(seed)
    z = random.normal(-2, 1.5, rows)
    return z, (random.random(rows) < sigmoid(truth(z))).astype(np.float64)  # type: ignore[operator]


@pytest.mark.parametrize("method", ["platt", "beta", "isotonic"])
def test_each_method_mends_scores_that_are_too_sure_and_too_high(method: Wanted) -> None:
    def truth(z: Floats) -> Floats:
        return 0.5 * z - 1

    fitted = calibrate(*drawn(20_000, truth), method)
    z, y = drawn(50_000, truth, seed=1)
    p = fitted.probabilities(z)
    assert fitted.method == method
    assert abs(p.sum() / y.sum() - 1) < 0.03
    assert log_loss(y, p) - log_loss(y, sigmoid(truth(z))) < 0.001
    assert log_loss(y, sigmoid(z)) - log_loss(y, p) > 0.02


def test_what_is_calibrated_stays_as_it_is() -> None:
    chosen = [calibrate(*drawn(4000, lambda z: z, seed)).method for seed in range(10)]
    assert chosen.count("identity") >= 8


def test_a_shape_that_no_line_has_needs_the_flexible_map() -> None:
    z, y = drawn(40_000, lambda z: np.where(z < -2, -3.0, 1.0))
    assert calibrate(z, y).method == "isotonic"


@pytest.mark.parametrize("method", sorted(FITS))
@pytest.mark.parametrize("kind", ["reversed", "separable", "ties"])
def test_strange_rows_give_a_map_that_increases(method: str, kind: str) -> None:
    random = np.random.default_rng(0)
    z = np.repeat([0.0, 1.0], 200) if kind == "ties" else random.normal(0, 3, 400)
    y = {"reversed": z < 0, "separable": z > 0, "ties": random.random(400) < 0.5}[kind].astype(np.float64)
    p = FITS[method](z, y).probabilities(np.linspace(-8, 8, 200))
    assert np.isfinite(p).all()
    assert (np.diff(p) > 0).all()


@pytest.mark.parametrize(("rows", "clicks"), [(1, 0), (100, 0), (100, 100), (100, 29), (59, 30)])
def test_few_rows_or_one_class_give_the_identity(rows: int, clicks: int) -> None:
    y = np.arange(rows) < clicks
    assert calibrate(np.linspace(-1, 1, rows), y.astype(float), "platt").method == "identity"


def test_equal_scores_give_the_identity() -> None:
    assert calibrate(np.zeros(500), np.arange(500) % 2).method == "identity"
