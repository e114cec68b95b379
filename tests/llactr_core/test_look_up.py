import numpy as np
import pytest

from llactr_core.look_up import NO_PAIRS, NO_ROWS, NO_WEIGHTS, look_up

CHANCE = np.random.default_rng(2026)


def terms(v: np.ndarray, w: np.ndarray, pairs: np.ndarray | None) -> np.ndarray:
    """What the kernel computes, from its definition."""
    total = w.sum(1)
    if pairs is not None:
        for i in range(v.shape[1]):
            for j in range(i + 1, v.shape[1]):
                total = total + pairs[i, j] * (v[:, i] * v[:, j]).sum(1)
    return total


@pytest.mark.parametrize("width", [1, 7, 8, 9, 16, 37])
@pytest.mark.parametrize("first", [0, 1], ids=["plain", "first"])
@pytest.mark.parametrize("rows", [0, 1, 30])
def test_it_is_the_definition(width: int, first: int, rows: int) -> None:
    table = CHANCE.normal(size=(50, width + first)).astype(np.float32)
    ids = CHANCE.integers(0, 50, (rows, 5)).astype(np.int32)
    pairs = CHANCE.normal(size=(5, 5)).astype(np.float32)
    v, logits = np.full((rows, 5, width), np.nan, np.float32), np.full(rows, np.nan, np.float32)
    for given, used in ((NO_PAIRS, None), (pairs, pairs)):
        look_up(table, NO_ROWS, ids, NO_WEIGHTS, np.arange(5), given, v, logits)
        np.testing.assert_array_equal(v, table[ids][..., :width])
        expected = terms(v.astype(np.float64), table[ids][..., width:].sum(2).astype(np.float64), used)
        np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-4)


def test_slots_of_a_field_are_summed_by_weight() -> None:
    table = CHANCE.normal(size=(20, 4)).astype(np.float32)
    ids = CHANCE.integers(0, 20, (6, 4)).astype(np.int32)
    weights = CHANCE.random((6, 4)).astype(np.float32)
    v, logits = np.empty((6, 2, 3), np.float32), np.empty(6, np.float32)
    look_up(table, NO_ROWS, ids, weights, np.array([0, 1, 1, 1]), NO_PAIRS, v, logits)
    rows = table[ids] * weights[..., None]
    np.testing.assert_allclose(v[:, 0], rows[:, 0, :3], rtol=1e-6)
    np.testing.assert_allclose(v[:, 1], rows[:, 1:, :3].sum(1), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(logits, rows[..., 3].sum(1), rtol=1e-5, atol=1e-6)
