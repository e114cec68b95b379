"""The way of a parameter without a gradient, against a loop over the steps."""

import numpy as np
import pytest

from llactr_core.training.drift import BETA_1, BETA_2, EPSILON, LONGEST, Drift

ROOTS = np.logspace(-14, -1, 120)  # of the second moment: far below and far above eps


def way_by_steps(root: np.ndarray, since: int, until: int) -> np.ndarray:
    """What Adam subtracts from a parameter with a first moment of 1 and the second moment root ** 2."""
    way = np.zeros_like(root)
    for step in range(since + 1, until + 1):
        mean = BETA_1 ** (step - since) / (1 - BETA_1**step)
        square = root**2 * BETA_2 ** (step - since) / (1 - BETA_2**step)
        way += mean / (np.sqrt(square) + EPSILON)
    return way


def run(steps: int) -> Drift:
    drift = Drift(1.0)
    for _ in range(steps):
        drift.advance()
        if drift.is_due:
            drift.settled(drift.step)
    return drift


@pytest.mark.parametrize(("steps", "error"), [(3, 1e-4), (7, 1e-4), (15, 1e-4), (63, 1e-4), (255, 2e-6), (4000, 2e-6)])
def test_the_way_is_that_of_all_the_steps(steps: int, error: float) -> None:
    drift = run(steps)
    nodes = drift.nodes()
    assert len(nodes) == drift.step - drift.base + 1
    for since, (w_1, x_1, w_2, x_2, shrink, shrink_square) in enumerate(nodes, drift.base):
        found = w_1 / (ROOTS + x_1) + w_2 / (ROOTS + x_2)
        np.testing.assert_allclose(found, way_by_steps(ROOTS, since, steps), rtol=error)
        np.testing.assert_allclose([shrink, shrink_square], [BETA_1 ** (steps - since), BETA_2 ** (steps - since)])


def test_rows_are_brought_up_to_date_in_time() -> None:
    drift = Drift(1.0)
    longest = 0
    for _ in range(4 * LONGEST):
        drift.advance()
        longest = max(longest, drift.step - drift.base)
        if drift.is_due:
            drift.settled(drift.step)
    assert longest == LONGEST
