"""`make bench [ONLY=SECTION[.PART],...]` and `make bench-quick`: measure, and write docs/benchmarks*.

The peers' environments, the models and the requests are kept in LLACTR_BENCH_CACHE (~/.cache/llactr-bench).
"""

import argparse
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from benchmarks.bench.effort import FULL, SMOKE, Effort
from benchmarks.bench.report import section_of, with_rows, write
from benchmarks.bench.rows import Row, Series
from benchmarks.bulk import section as bulk
from benchmarks.scoring import section as scoring
from benchmarks.scoring.growth import CURVES
from benchmarks.scoring.peers.race import PEERS
from benchmarks.scoring.rounding import auc_changes
from benchmarks.scoring.workload import Workload
from benchmarks.training import curves as training_curves
from benchmarks.training import section as training
from benchmarks.training.peer_env import cache_folder
from benchmarks.tuning import section as tuning

DOCS = Path(__file__).parents[2] / "docs"
SECTIONS = ("scoring", "training", "bulk", "tuning")

Part = Callable[[], Sequence[Row | Series]]


def parts(effort: Effort, datasets: Path, *, quick: bool) -> dict[str, dict[str, Part]]:
    """What measures each section, in named parts that do not need each other."""
    work = Workload(cache_folder() / "scoring", effort.scoring.values)
    if quick:
        return {
            "scoring": {"quick": partial(scoring.quick, work, effort.scoring)},
            "training": {"deepfm": partial(training.deepfm, datasets, effort.training)},
        }
    return {
        "scoring": {
            "own": partial(scoring.own, work, effort.scoring),
            "wukong": partial(scoring.wukong, work, effort.scoring),
            **{f"auc-{name}": partial(auc_changes, name, datasets, effort.scoring) for name in ("deepfm", "wukong")},
            "start": partial(scoring.start, work, effort.scoring),
            **{name.split()[0].lower(): partial(scoring.against_peer, name, work, effort.scoring) for name in PEERS},
            "semantics": partial(scoring.cost_of_semantics, work, effort.scoring),
            **{curve.__name__: partial(curve, work, effort.scoring) for curve in CURVES},
        },
        "training": {
            **{name: partial(training.backbone, name, datasets, effort.training) for name in effort.training.backbones},
            "precision": partial(training.precision, datasets, effort.training),
            "growth": partial(training_curves.growth, datasets, effort.training),
        },
        "bulk": {
            "auc": partial(bulk.auc, effort.bulk),
            "encode": partial(bulk.encode, effort.bulk, work.values),
            "files": partial(bulk.score_files, effort.bulk, work),
        },
        "tuning": {
            name: partial(part, datasets, effort.tuning)
            for name, part in (
                ("step", tuning.ssft_step),
                ("preparation", tuning.preparation),
                ("growth", tuning.growth),
            )
        },
    }


def main() -> int:
    """Run the sections that are asked for; 1 where a part of them failed."""
    given = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that servers are ended on the way out
    name = "benchmarks-quick" if given.quick else "benchmarks"
    path = (given.smoke or DOCS) / name
    failed = False
    for section, measures in parts(SMOKE if given.smoke else FULL, given.datasets, quick=given.quick).items():
        chosen = {name: measure for name, measure in measures.items() if {section, f"{section}.{name}"} & given.only}
        command = f"make {'bench-quick' if given.quick else 'bench'} ONLY={section}"
        is_whole = section in given.only
        found: list[Row | Series] = []
        began = time.monotonic()
        for measure in chosen.values():
            try:
                found += measure()
            except Exception:
                traceback.print_exc()
                failed = True
                continue
            # Written after every part, so that none is lost where a later one fails.
            made = section_of(found, command)
            write(path, {section: made if is_whole else with_rows(path, section, made)}, plots=not given.quick)
        if chosen:
            _tell(section, found, time.monotonic() - began)
    return int(failed)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="scoring and DeepFM's training, in five minutes")
    parser.add_argument("--smoke", type=Path, metavar="FOLDER", help="see that all of it runs, into FOLDER; tiny sizes")
    help_only = "sections, or parts of them as scoring.start, separated by commas (%(default)s)"
    parser.add_argument("--only", default=",".join(SECTIONS), help=help_only)
    parser.add_argument("--datasets", type=Path, default=Path("../shared/data"), help="the folder that holds ml1m")
    given = parser.parse_args()
    given.only = set(given.only.split(","))
    every = parts(FULL, given.datasets, quick=given.quick)
    known = {*SECTIONS, *(f"{section}.{name}" for section, its in every.items() for name in its)}
    unknown = sorted(given.only - known)
    if unknown:
        parser.error(
            f"--only: there is no section {', '.join(unknown)}; there are {', '.join(SECTIONS)} and their parts"
        )
    return given


def _tell(section: str, found: Sequence[Row | Series], seconds: float) -> None:
    print(f"{section}: {seconds:.0f} s", flush=True)
    for row in found:
        if isinstance(row, Row):
            print(f"  {row.name}: {row.value:,.4g} {row.unit}", flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
