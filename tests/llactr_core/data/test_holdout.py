"""The parts of the valid rows: decided by the position alone, of the right sizes, whatever the batches are."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from llactr_core.data.holdout import CALIBRATION, GATE, STOPPING, gate_rows, held_out_parts
from llactr_core.data.read import open_source


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_the_shares_are_as_asked(share: float) -> None:
    sizes = np.bincount(held_out_parts(0, 100_000, share), minlength=3) / 100_000
    assert sizes == pytest.approx([1 - share, share / 2, share / 2], abs=0.01)


def test_a_share_of_nothing_is_all_for_early_stopping() -> None:
    assert (held_out_parts(0, 1000, 0.0) == STOPPING).all()


def test_batches_do_not_matter() -> None:
    whole = held_out_parts(0, 1000, 0.5)
    pieces = [held_out_parts(first, 100, 0.5) for first in range(0, 1000, 100)]
    np.testing.assert_array_equal(np.concatenate(pieces), whole)


def test_the_gates_rows_are_those_of_its_part_in_their_order(tmp_path: Path) -> None:
    pq.write_table(pa.table({"n": range(5000), "label": [0, 1] * 2500}), tmp_path / "v.parquet", row_group_size=700)
    source = open_source(tmp_path / "v.parquet")
    expected = np.flatnonzero(held_out_parts(0, 5000, 0.5) == GATE)
    assert gate_rows(source, ["n", "label"], 0.5, GATE, 20_000)["n"].to_pylist() == expected.tolist()
    assert gate_rows(source, ["n"], 0.5, GATE, 300)["n"].to_pylist() == expected[:300].tolist()
    assert gate_rows(source, ["n"], 0.5, CALIBRATION, 0).num_rows == 0
