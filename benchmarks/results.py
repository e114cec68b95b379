"""`make results`: all backbones, plain and LLaCTR, one seed, on the datasets beyond the sample.

Every run is one process with one thread, two at a time. Finished runs are kept in docs/results/first-results.json and
not repeated, so that an interrupted `make results` goes on; delete the file to measure anew.
"""

import argparse
import json
import math
import os
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

from llactr_core.data.splits import open_dataset
from llactr_core.files import write_atomic
from llactr_core.metrics.ranking import relative_improvement
from llactr_core.models.registry import BACKBONES
from llactr_core.progress import Progress, silent
from llactr_core.proof.readings import record_reading
from llactr_core.schema import Schema
from llactr_core.semantics.build import build_field_table
from llactr_core.semantics.options import SsftOptions
from llactr_core.semantics.sampling import draw_samples
from llactr_core.semantics.semantics import Semantics
from llactr_core.semantics.table import FieldTable
from llactr_core.training.options import TrainOptions
from llactr_core.training.pipeline import train_bundle

HERE = Path(__file__).parent
OUT = HERE.parent / "docs" / "results"
RESULTS = OUT / "first-results.json"
DATASETS = ("ml1m", "amazon2018_magazine")
OPTIONS: dict[str, Any] = {"seed": 2026, "evaluations": 2, "patience": 6}

README = HERE.parent / "README.md"
COLUMNS = (
    *("backbone", "arm", "valid AUC", "test AUC", "RelaImpr", "test LogLoss", "test ECE"),
    *("minutes (CPU)", "parameters"),
)
MARKS = ("<!-- results -->", "<!-- end of results -->")

Run = dict[str, Any]


def main() -> None:
    """Measure what is not yet measured, then write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--datasets", type=Path, required=True, help="the folder with ml1m/ and amazon2018_magazine/")
    parser.add_argument("--state", type=Path, default=HERE.parent / ".llactr" / "results")
    arguments = parser.parse_args()
    OUT.mkdir(parents=True, exist_ok=True)
    done = load_runs()
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        for name in DATASETS:
            folder = arguments.datasets / name
            if not folder.is_dir():
                sys.exit(f"{folder} is not there; give the folder that holds {' and '.join(DATASETS)} as DATASETS=...")
            table = field_table(name, folder, arguments.state / name)
            wanted = [(b, e) for b in BACKBONES for e in ("none", "llactr")]
            missing = [(b, e) for b, e in wanted if not any(key_of(run) == (name, b, e) for run in done)]
            futures = [pool.submit(measure, name, folder, arguments.state / name, table, b, e) for b, e in missing]
            for future in as_completed(futures):
                done.append(future.result())
                write_atomic(RESULTS, (json.dumps(sorted(done, key=key_of), indent=1) + "\n").encode())
                write_table(done)
                print(json.dumps(done[-1]), flush=True)
    write_table(done)


def key_of(run: Run) -> tuple[str, str, str]:
    """What tells runs apart."""
    return run["dataset"], run["backbone"], run["enhancer"]


def load_runs() -> list[Run]:
    """The runs measured so far."""
    return json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else []


def field_table(name: str, folder: Path, state: Path) -> FieldTable:
    """The dataset's field vectors, tuned once on values of train."""
    path = state / "field_table.safetensors"
    if path.exists():
        return FieldTable.load(path)
    state.mkdir(parents=True, exist_ok=True)
    schema = Schema.load(HERE / "schemas" / f"{name}.yaml")
    options = SsftOptions()
    source = open_dataset(folder, schema.label).train
    samples = draw_samples(schema, source.batches(), options.sam_num, options.seed)
    table = build_field_table(schema, samples, "all-MiniLM-L6-v2", options, print_progress, state)
    table.save(path)
    return table


def print_progress(progress: Progress) -> None:
    """One line for now and then."""
    if progress.step is None or progress.step % 20 == 0:
        print(f"{progress.stage}: {progress.done:.0%}", flush=True)


def measure(name: str, folder: Path, state: Path, table: FieldTable, backbone: str, enhancer: str) -> Run:
    """Train one arm and read its test split."""
    import torch

    torch.set_num_threads(1)
    schema = Schema.load(HERE / "schemas" / f"{name}.yaml")
    options = TrainOptions.parse({**OPTIONS, "held_out": 0, "backbone": backbone, "enhancer": enhancer})
    started, cpu = time.monotonic(), time.process_time()
    record_reading(f"make results ({name}, {backbone}, {enhancer})")
    with tempfile.TemporaryDirectory() as scratch:
        checkpoints = state / f"{backbone}-{enhancer}"
        splits = open_dataset(folder, schema.label)
        bundle = train_bundle(
            splits, schema, Semantics(table), options, Path(scratch) / "b", checkpoints, silent, read_test=True
        )
    return {
        "dataset": name,
        "backbone": backbone,
        "enhancer": enhancer,
        "minutes": round((time.monotonic() - started) / 60, 2),
        "cpu_minutes": round((time.process_time() - cpu) / 60, 2),
        "parameters": bundle.metrics["training"]["parameters"],
        "valid": bundle.metrics["valid"],
        "test": bundle.metrics["test"],
    }


def write_table(runs: list[Run]) -> None:
    """docs/results/README.md, wholly from the measured runs."""
    lines = [
        "# First results: six backbones, plain and with LLaCTR",
        "",
        "The tables are written by `make results`. One seed, default options (patience 6), one thread a",
        "run, two at a time on two cores; the epoch was chosen on validation. **One seed is no proof**:",
        "differences of a few thousandths are within what another seed moves.",
        "Readings of the test splits are logged in test-readings.csv.",
        "",
        "With these defaults FM, FwFM and FmFM can stop on a plateau: FwFM, plain, on ml1m rose from .8241 to .8275 on",
        "validation when it was left to train for 15 epochs. Read their rows with that in mind.",
        "",
    ]
    for name in dict.fromkeys(run["dataset"] for run in runs):
        lines += [f"## {name}", ""]
        lines += [f"| {' | '.join(COLUMNS)} |", "| --- " * len(COLUMNS) + "|"]
        here = [run for run in runs if run["dataset"] == name]
        plain = {run["backbone"]: run["test"]["auc"] for run in here if run["enhancer"] == "none"}
        for run in sorted(here, key=lambda r: (r["backbone"], r["enhancer"] == "llactr")):
            lines += [table_row(run, plain.get(run["backbone"], math.nan))]
        lines += [""]
    (OUT / "README.md").write_text("\n".join(lines), encoding="utf-8")
    write_summary(runs)


def table_row(run: Run, plain: float) -> str:
    """One run; RelaImpr is against the plain arm's test AUC."""
    test = run["test"]
    return (
        f"| {run['backbone']} | {'LLaCTR' if run['enhancer'] == 'llactr' else 'plain'} | {run['valid']['auc']:.4f} | "
        f"{test['auc']:.4f} | {relative_improvement(test['auc'], plain):+.2%} | {test['logloss']:.4f} | "
        f"{test['ece']:.4f} | {run['minutes']:.1f} ({run['cpu_minutes']:.1f}) | {run['parameters']:,} |"
    )


def write_summary(runs: list[Run]) -> None:
    """The test AUCs in one small table, between the two marks in the project's README."""
    names = list(dict.fromkeys(run["dataset"] for run in runs))
    found = {key_of(run): f"{run['test']['auc']:.4f}" for run in runs}
    lines = ["| test AUC | " + " | ".join(f"{name}, {arm}" for name in names for arm in ("plain", "LLaCTR")) + " |"]
    lines += ["| --- |" + " --- |" * (2 * len(names))]
    for backbone in BACKBONES:
        cells = [found.get((name, backbone, arm), "") for name in names for arm in ("none", "llactr")]
        lines += [f"| {backbone} | " + " | ".join(cells) + " |"]
    head, rest = README.read_text(encoding="utf-8").split(MARKS[0])
    tail = rest.split(MARKS[1])[1]
    README.write_text("\n".join([head + MARKS[0], *lines, MARKS[1] + tail]), encoding="utf-8")


if __name__ == "__main__":
    main()
