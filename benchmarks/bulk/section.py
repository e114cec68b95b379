"""The bench's section on bulk work. Times are CPU seconds: they hardly move when the machine does other work."""

import statistics
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import ParamSpec, TypeVar

from benchmarks.bench.effort import BulkEffort
from benchmarks.bench.rows import Row
from benchmarks.bulk.clicks import FIELDS, Clicks
from benchmarks.bulk.files import Cost, measure_ids, measure_scoring
from benchmarks.bulk.ranking import TOLERANCE, Ranking, measure_auc
from benchmarks.scoring.workload import Workload

MIB = 2**20

_P = ParamSpec("_P")
_T = TypeVar("_T")


def auc(effort: BulkEffort) -> list[Row]:
    """AUC against scikit-learn; about a minute."""
    return [row for size in effort.scores for row in auc_rows(size, _in_child(measure_auc, size, effort.repeats))]


def encode(effort: BulkEffort, values: int) -> list[Row]:
    """Parquet to ids, with vocabularies of `values`; about 3 minutes and 1 GB of disk."""
    clicks = Clicks(values)
    with tempfile.TemporaryDirectory() as folder:
        source = clicks.write(Path(folder) / "rows.parquet", effort.encoded)
        known, fitted = _in_child(measure_ids, source, clicks.schema, effort.encoded)
    return id_rows(effort.encoded, known, fitted)


def score_files(effort: BulkEffort, work: Workload) -> list[Row]:
    """File to file, at two sizes, since memory has to stay; about a minute."""
    clicks = Clicks(work.values)
    bundle = _in_child(work.bundle, precision="int8")
    few: list[Cost] = []
    many: list[Cost] = []
    with tempfile.TemporaryDirectory() as place:
        small = clicks.write(Path(place) / "few.parquet", effort.scored // 4)
        large = clicks.write(Path(place) / "many.parquet", effort.scored)
        for _ in range(effort.repeats):
            few.append(_in_child(measure_scoring, bundle, small, effort.scored // 4))
            many.append(_in_child(measure_scoring, bundle, large, effort.scored))
    return score_rows(few, many)


def auc_rows(size: int, measured: Ranking) -> list[Row]:
    """The rows of `auc` from what was measured."""
    if measured.difference > TOLERANCE:
        raise ValueError(f"AUC of {size} scores is {measured.difference:.1e} away from scikit-learn's")
    ratios = [peer / ours for ours, peer in zip(measured.ours, measured.peer, strict=True)]
    return [
        Row(
            name=f"AUC of {size:.0e} scores, against scikit-learn".replace("+0", ""),
            value=statistics.median(ratios),
            unit="x",
            op=">=",
            reach=8.0 if size < 10**7 else 10.0,
            peer="scikit-learn",
            note=f"CPU time; float64 scores with ties; apart by {measured.difference:.0e}",
            spread=(min(ratios), max(ratios)),
            cpu_s=statistics.median(measured.ours),
        )
    ]


def id_rows(rows: int, known: Cost, fitted: Cost) -> list[Row]:
    """The rows of `encode` from what was measured."""
    what = f"Parquet to ids, {rows:.0e} rows x {FIELDS} fields".replace("+0", "")
    speed = "values/s per core, by CPU time"
    return [
        Row(f"{what}, known vocabularies", known.rows_per_second * FIELDS, speed, ">=", 3e6, None),
        Row(f"{what}, vocabularies learned first", fitted.rows_per_second * FIELDS, speed, ">=", 3e6, None),
        Row(f"{what}, peak memory", fitted.peak / MIB, "MiB", "<=", 2048.0, None, "of both passes, the ids included"),
    ]


def score_rows(few: list[Cost], many: list[Cost]) -> list[Row]:
    """The rows of `score_files` from what was measured."""
    speeds = [cost.rows_per_second for cost in many]
    growth = statistics.median(cost.peak for cost in many) / statistics.median(cost.peak for cost in few)
    return [
        Row(
            name="Parquet to Parquet with scores, DeepFM+LLaCTR",
            value=statistics.median(speeds),
            unit="rows/s per core, by CPU time",
            op=">=",
            reach=150_000.0,
            peer=None,
            note="all columns are kept; the bundle's loading is included",
            spread=(min(speeds), max(speeds)),
        ),
        Row("the same, peak memory at four times the rows", growth, "x", "<=", 1.1, None),
    ]


def _in_child(work: Callable[_P, _T], *given: _P.args, **named: _P.kwargs) -> _T:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(work, *given, **named).result()
