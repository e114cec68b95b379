"""`make bench [ONLY=SECTIONS]` and `make bench-quick`: measure, and write docs/benchmarks*.

The peers' environments, the models and the requests are kept in LLACTR_BENCH_CACHE (~/.cache/llactr-bench).
"""

import argparse
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.bench import scoring
from benchmarks.bench.report import Section, section_of, write
from benchmarks.bench.rows import Row, Series
from benchmarks.bench.workload import Workload
from benchmarks.bulk import section as bulk
from benchmarks.training import section as training
from benchmarks.training.peer_env import cache_folder
from benchmarks.tuning import section as tuning

DOCS = Path(__file__).parents[2] / "docs"

Parts = tuple[Sequence[Row], Sequence[Series]]


def sections(work: Workload, datasets: Path, *, quick: bool) -> dict[str, Callable[[], Parts]]:
    """What measures each section."""
    if quick:
        return {"scoring": lambda: (scoring.quick(work), ()), "training": lambda: (training.deepfm(datasets), ())}
    return {
        "scoring": lambda: (scoring.figures(work), scoring.growth(work)),
        "training": lambda: (_training(datasets), training.growth(datasets)),
        "bulk": lambda: ([*bulk.auc(), *bulk.encode(), *bulk.score_files(work.folder / "deepfm-llactr")], ()),
        "tuning": lambda: ([*tuning.ssft_step(datasets), *tuning.preparation(datasets)], tuning.growth(datasets)),
    }


def _training(datasets: Path) -> list[Row]:
    parts = (training.all_backbones, training.precision, training.enhancer_cost)
    return [*(row for part in parts for row in part(datasets)), *training.big_table()]


def main() -> int:
    """Run the sections that are asked for; 1 where one of them failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="scoring and DeepFM's training, in five minutes")
    parser.add_argument("--only", help="sections, separated by commas: scoring, training, bulk, tuning")
    parser.add_argument("--datasets", type=Path, default=Path("../shared/data"), help="the folder that holds ml1m")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that servers are ended on the way out
    asked = set(given.only.split(",")) if given.only else None
    unknown = (asked or set()) - {"scoring", "training", "bulk", "tuning"}
    if unknown:
        parser.error(f"--only: there is no section {', '.join(sorted(unknown))}")
    path = DOCS / ("benchmarks-quick" if given.quick else "benchmarks")
    failed = False
    for name, measure in sections(Workload(cache_folder() / "scoring"), given.datasets, quick=given.quick).items():
        if asked is not None and name not in asked:
            continue
        print(f"{name} ...", flush=True)
        try:
            rows, series = measure()
        except Exception:
            traceback.print_exc()
            failed = True
            continue
        for row in rows:
            print(f"  {row.name}: {row.value:,.4g} {row.unit}", flush=True)
        kept: dict[str, Section] = {name: section_of(rows, series, _command(given.quick, name))}
        write(path, kept, plots=not given.quick)
    return int(failed)


def _command(quick: bool, section: str) -> str:
    return f"make {'bench-quick' if quick else 'bench'} ONLY={section}"


if __name__ == "__main__":
    raise SystemExit(main())
