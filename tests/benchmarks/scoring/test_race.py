import pytest

from benchmarks.scoring.peers.race import scores_equal


def test_scores_that_are_apart_end_a_comparison() -> None:
    assert scores_equal([([0.5, 0.25], [0.5, 0.25]), ([0.5], [0.500001])], "a peer") == pytest.approx(1e-6)
    with pytest.raises(ValueError, match=r"a peer scores 1\.0e-03 away"):
        scores_equal([([0.5], [0.501])], "a peer")
