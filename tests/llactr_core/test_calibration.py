"""The maps keep the order of the rows, stay within their bounds, and survive being written and read."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llactr_core.calibration import LIMIT, Calibrator, bent, sigmoid
from llactr_core.errors import BundleError
from llactr_core.metrics.ranking import auc

MAPS = [
    Calibrator(),
    Calibrator("platt", (0.4, -3.0)),
    Calibrator("platt", (3.0, 2.0)),
    Calibrator("beta", (0.2, 1.7, -1.0)),
    Calibrator("beta", (1.5, 0.1, 0.5)),
    Calibrator("isotonic", knots=((-3.0, -5.0), (-1.0, -1.001), (0.5, -1.0), (2.0, 4.0))),
]
LOGITS = st.lists(st.floats(-60, 60, width=32), min_size=2, max_size=60)


@pytest.mark.parametrize("calibrator", MAPS, ids=lambda one: f"{one.method}-{len(one.coefficients)}")
@given(values=LOGITS)
@settings(max_examples=60, deadline=None)
def test_a_larger_logit_never_becomes_a_smaller_probability(calibrator: Calibrator, values: list[float]) -> None:
    z = np.unique(np.array(values, np.float64))
    p = calibrator.probabilities(z)
    assert (np.diff(p) >= 0).all()
    assert ((p >= 1e-6) & (p <= 1 - 1e-6)).all()
    within = np.abs(calibrator.mapped(z)) < LIMIT - 2
    apart = np.diff(z) > 1e-4
    assert (np.diff(p)[within[1:] & within[:-1] & apart] > 0).all()


@pytest.mark.parametrize("calibrator", MAPS, ids=lambda one: f"{one.method}-{len(one.coefficients)}")
@pytest.mark.parametrize("spread", [0.1, 2.0, 8.0])
def test_the_auc_stays(calibrator: Calibrator, spread: float) -> None:
    random = np.random.default_rng(3)
    z = (random.normal(0, spread, 50_000)).astype(np.float32).astype(np.float64)
    y = random.random(50_000) < sigmoid(z / spread)
    assert abs(auc(y, calibrator.probabilities(z)) - auc(y, z)) < 1e-6


def test_the_bend_leaves_usual_logits_alone_and_never_reaches_the_limit() -> None:
    z = np.array([-200.0, -14.0, -11.0, 0.0, 11.0, 14.0, 200.0])
    b = bent(z)
    np.testing.assert_array_equal(b[2:5], z[2:5])
    assert (np.abs(b) <= LIMIT).all()
    assert b[0] == -b[-1]


def test_format_one_scores_by_the_plain_sigmoid() -> None:
    z = np.array([-30.0, 0.0, 1.5, 30.0])
    np.testing.assert_allclose(Calibrator("none").probabilities(z), 1 / (1 + np.exp(-z)), rtol=1e-12)


@pytest.mark.parametrize("calibrator", MAPS, ids=lambda one: f"{one.method}-{len(one.coefficients)}")
def test_what_is_written_is_read(calibrator: Calibrator) -> None:
    assert Calibrator.of_json(calibrator.as_json()) == calibrator


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "expected"),
        ({"method": "platt"}, "expected"),
        ({"method": "platt", "coefficients": [1.0], "knots": []}, "1 coefficients"),
        ({"method": "platt", "coefficients": [-1.0, 0.0], "knots": []}, "strictly"),
        ({"method": "beta", "coefficients": [0.0, 0.0, 1.0], "knots": []}, "strictly"),
        ({"method": "platt", "coefficients": [float("nan"), 0.0], "knots": []}, "finite"),
        ({"method": "isotonic", "coefficients": [], "knots": [[0.0, 1.0]]}, "knots"),
        ({"method": "isotonic", "coefficients": [], "knots": [[0.0, 1.0], [1.0, 1.0]]}, "knots"),
        ({"method": "magic", "coefficients": [], "knots": []}, "magic"),
        ({"method": "platt", "coefficients": ["x", 0], "knots": []}, "damaged"),
        ({"method": "isotonic", "coefficients": [], "knots": [[1.0]]}, "damaged"),
    ],
)
def test_a_damaged_map_is_refused(content: object, said: str) -> None:
    with pytest.raises(BundleError, match=said):
        Calibrator.of_json(content)
