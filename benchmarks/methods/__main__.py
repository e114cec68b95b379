"""Cut the rows, measure each method in a process of its own, and write docs/methods-measured.{json,md}."""

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.methods.measure import TRIALS, methods_for
from benchmarks.methods.page import written
from llactr_core.data.splits import open_dataset
from llactr_core.datasets.takeaway import simulate_takeaway
from llactr_core.files import write_atomic
from llactr_core.proof.readings import record_reading
from llactr_core.schema import Schema

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
FULL = 591_209  # ml1m's train rows
ROWS = 20_000
DATASETS = ("ml1m", "takeaway")
SEED = 0


def main() -> None:
    """`python -m benchmarks.methods --datasets DIR`; what was measured is kept and not repeated."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--datasets", type=Path, default=Path("../shared/data"), help="the folder with ml1m's folder")
    parser.add_argument("--rows", type=int, default=ROWS, help="training rows of each dataset")
    parser.add_argument("--trials", type=int, default=3, choices=range(1, len(TRIALS) + 1))
    parser.add_argument("--only", default="", help="methods with commas between them")
    parser.add_argument("--state", type=Path, default=ROOT / ".llactr" / "methods")
    parser.add_argument("--out", type=Path, default=DOCS, help="the folder of the reports")
    parser.add_argument("--page", action="store_true", help="write the page anew from the .json, and measure nothing")
    given = parser.parse_args()
    if given.page:
        _write_page(given.out)
        return
    results = []
    for name in DATASETS:
        folder = given.state / f"{name}-{given.rows}"
        schema = _cut(name, given.datasets, folder, given.rows)
        chosen = [one for one in methods_for(schema) if not given.only or one in given.only.split(",")]
        results += [_measured(name, folder, method, given.trials) for method in chosen]
    write_atomic(given.out / "methods-measured.json", (json.dumps(results, indent=1) + "\n").encode(), 0o644)
    _write_page(given.out)


def _write_page(out: Path) -> None:
    results = json.loads((out / "methods-measured.json").read_text(encoding="utf-8"))
    write_atomic(out / "methods-measured.md", written(results, FULL).encode(), 0o644)


def _cut(name: str, datasets: Path, folder: Path, rows: int) -> Schema:
    """Train, valid and test of a dataset, train with so many rows, and the schema, in a folder."""
    if (folder / "schema.yaml").exists():
        return Schema.load(folder / "schema.yaml")
    if name == "takeaway":
        return Schema.load(simulate_takeaway(folder, rows=-(-rows * 10 // 8)).schema)
    schema = Schema.load(ROOT / "benchmarks" / "schemas" / "ml1m.yaml")
    splits = open_dataset(datasets / name, schema.label)
    folder.mkdir(parents=True, exist_ok=True)
    columns = list(dict.fromkeys([*schema.columns, *([schema.group] if schema.group else []), str(schema.label)]))
    for part in ("train", "valid", "test"):
        table = pa.Table.from_batches(getattr(splits, part).batches(columns))
        if part == "train":
            chosen = np.random.default_rng(SEED).choice(len(table), min(rows, len(table)), replace=False)
            table = table.take(pa.array(np.sort(chosen)))
        pq.write_table(table, folder / f"{part}.parquet")
    schema.save(folder / "schema.yaml")
    return schema


def _measured(name: str, folder: Path, method: str, trials: int) -> dict[str, Any]:
    out = folder / f"{method}-{trials}.json"
    if not out.exists():
        print(f"{name}: {method}", flush=True)
        record_reading(f"make methods ({name}: {method})", ROOT)
        subprocess.run(_command(name, folder, method, trials, out), check=True, cwd=ROOT)
    found: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    return found


def _command(name: str, folder: Path, method: str, trials: int, out: Path) -> Sequence[str]:
    arguments = [name, str(folder), method, str(trials), str(out)]
    return [sys.executable, "-m", "benchmarks.methods.measure", *arguments]


if __name__ == "__main__":
    main()
