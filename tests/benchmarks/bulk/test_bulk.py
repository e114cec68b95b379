from pathlib import Path

from pyarrow import parquet

from benchmarks.bulk.clicks import FIELDS, Clicks
from benchmarks.bulk.files import measure_ids
from benchmarks.bulk.ranking import TOLERANCE, measure_auc


def test_clicks_are_skewed_repeatable_and_know_every_value(tmp_path: Path) -> None:
    one = parquet.read_table(Clicks(50).write(tmp_path / "one.parquet", 3000, every_value=True))
    other = parquet.read_table(Clicks(50).write(tmp_path / "other.parquet", 3000, every_value=True))
    assert one == other
    assert one.num_columns == FIELDS + 1
    counts = sorted(one["field_0"].value_counts().field(1).to_pylist())
    assert len(counts) == 50
    assert counts[-1] > 10 * counts[0]


def test_ids_are_measured(tmp_path: Path) -> None:
    clicks = Clicks(50)
    known, fitted = measure_ids(clicks.write(tmp_path / "rows.parquet", 3000), clicks.schema, 3000)
    assert known.rows_per_second > fitted.rows_per_second > 0
    assert known.peak > 0


def test_auc_is_that_of_the_peer() -> None:
    measured = measure_auc(2000, repeats=2)
    assert measured.difference <= TOLERANCE
    assert len(measured.ours) == len(measured.peer) == 2
    assert min(measured.peer) > 0
