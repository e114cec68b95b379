"""`make ssft`: what tuning does for held-out values, three seeds each on two datasets, with what it costs.

One run at a time, in a process of its own with one thread. Finished runs are kept in docs/results/ssft.json and not
repeated; delete the file to measure anew.
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

from llactr_core.data.splits import open_dataset
from llactr_core.files import write_atomic
from llactr_core.schema import Schema
from llactr_core.semantics.options import SsftOptions
from llactr_core.semantics.sampling import draw_samples
from llactr_core.semantics.weights import DEFAULT_MODEL

HERE = Path(__file__).parent
OUT = HERE.parent / "docs" / "results"
RESULTS = OUT / "ssft.json"
# A schema does not say which of its fields are ids.
IDS = {"ml1m": ("UserID", "MovieID"), "amazon2018_magazine": ("user_id", "asin")}
SEEDS = (0, 1, 2)
KEPT = (
    *("held_out_accuracy_before", "held_out_accuracy", "best_epoch", "train_values", "held_out_values", "tokens"),
    *("seconds", "tokens_per_second", "padding", "peak_memory_mib", "device", "precision"),
)

Run = dict[str, Any]


def main() -> None:
    """Measure what is not yet measured, then write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--datasets", type=Path, required=True, help=f"the folder with {'/ and '.join(IDS)}/")
    folder: Path = parser.parse_args().datasets
    done: list[Run] = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else []
    for name in IDS:
        if not (folder / name).is_dir():
            sys.exit(f"{folder / name} is not there; give the folder that holds {' and '.join(IDS)} as DATASETS=...")
    for name, seed in [(name, seed) for name in IDS for seed in SEEDS]:
        if any((run["dataset"], run["seed"]) == (name, seed) for run in done):
            continue
        # A fresh process for each run: the peak of a process's memory never falls.
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            done.append(pool.submit(measure, name, folder / name, seed).result())
        write_atomic(RESULTS, (json.dumps(done, indent=1) + "\n").encode())
        print(json.dumps(done[-1]), flush=True)
    write_page(done)


def measure(name: str, folder: Path, seed: int) -> Run:
    """Draw the samples of train, tune with the default options, and keep what the held-out values say."""
    import torch

    from llactr_core.semantics.tuning.launch import run_tuning

    torch.set_num_threads(1)
    schema = Schema.load(HERE / "schemas" / f"{name}.yaml")
    options = SsftOptions(seed=seed)
    samples = draw_samples(schema, open_dataset(folder, schema.label).train.batches(), options.sam_num, seed)
    began = time.process_time()
    metrics = run_tuning(DEFAULT_MODEL, schema, samples, options).metrics
    fields = metrics["field_accuracy"]
    return {
        "dataset": name,
        "seed": seed,
        "macro": lift(metrics["held_out_macro_accuracy_before"], metrics["held_out_macro_accuracy"]),
        "macro_without_ids": macro_without(fields, IDS[name]),
        "cpu_seconds": round(time.process_time() - began, 1),
        **{key: metrics[key] for key in KEPT},
        "fields": fields,
    }


def macro_without(fields: dict[str, Any], ids: Sequence[str]) -> Run:
    """The macro accuracy over the fields that are no ids."""
    from llactr_core.semantics.tuning.report import macro_accuracy

    rest = [facts for name, facts in fields.items() if name not in ids]
    values = [facts["values"] for facts in rest]
    before, after = (macro_accuracy([facts[when] for facts in rest], values) for when in ("before", "after"))
    return lift(before or 0.0, after or 0.0)


def lift(before: float, after: float) -> Run:
    """Before and after, with the lift that counts as proof: 0.3, or half of the gap to 1, whichever is smaller."""
    needed = min(0.3, (1 - before) / 2)
    return {"before": before, "after": after, "needed": needed, "reached": after - before >= needed}


def write_page(runs: list[Run]) -> None:
    """docs/results/ssft.md, from all runs."""
    lines = [
        "# SSFT: what tuning does for held-out values",
        "",
        "`make ssft` wrote this page. MiniLM with the default options; at most 200 distinct values per field, drawn",
        "from train; a fifth of them held out. They also choose the epoch, one of five or the untuned model, so that",
        "their accuracy is a little flattered. *Macro*: the mean accuracy over fields with at least 20 distinct",
        "sampled values, ids included. *Needed*: a lift by 0.3, or by half of the gap to 1, whichever is smaller. A",
        "value that several fields share is right in any of them. Where two fields have bare numbers as ids nobody can",
        "tell them apart, and 1.0 is not reachable.",
        "",
        "One thread, on a machine that did other work at the same time: trust what is given in CPU seconds.",
        "",
    ]
    for name in IDS:
        lines += [f"## {name}", "", *run_table([run for run in runs if run["dataset"] == name]), ""]
        lines += [*field_table([run for run in runs if run["dataset"] == name], IDS[name]), ""]
    reached = sum(run["macro"]["reached"] for run in runs)
    lines += [f"The needed lift was reached in {reached} of {len(runs)} runs.", ""]
    (OUT / "ssft.md").write_text("\n".join(lines), encoding="utf-8")


def run_table(runs: list[Run]) -> list[str]:
    """One line per seed."""
    head = (
        *("seed", "macro", "lift (needed)", "macro without ids", "all values", "epoch", "CPU s", "tokens"),
        *("tokens/s (per CPU s)", "padding", "peak MiB"),
    )
    lines = [f"| {' | '.join(head)} |", "| --- " * len(head) + "|"]
    for run in runs:
        macro, rest = run["macro"], run["macro_without_ids"]
        cells = (
            f"{run['seed']}",
            f"{macro['before']:.3f} to {macro['after']:.3f}",
            f"{macro['after'] - macro['before']:+.3f} ({macro['needed']:.3f})",
            f"{rest['before']:.3f} to {rest['after']:.3f}",
            f"{run['held_out_accuracy_before']:.3f} to {run['held_out_accuracy']:.3f}",
            f"{run['best_epoch']}",
            f"{run['cpu_seconds']:.0f}",
            f"{run['tokens']:,}",
            f"{run['tokens_per_second']:.0f} ({run['tokens'] / run['cpu_seconds']:.0f})",
            f"{run['padding']:.1%}",
            f"{run['peak_memory_mib']:.0f}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def field_table(runs: list[Run], ids: Sequence[str]) -> list[str]:
    """Accuracy per field, averaged over seeds; a field without held-out values has none."""
    lines = ["| field | distinct values sampled | accuracy before | after |", "| --- | --- | --- | --- |"]
    for name, facts in runs[0]["fields"].items():
        means = []
        for when in ("before", "after"):
            known = [run["fields"][name][when] for run in runs if run["fields"][name][when] is not None]
            means.append(f"{statistics.mean(known):.3f}" if known else "none held out")
        lines.append(f"| {name}{' (id)' if name in ids else ''} | {facts['values']} | {means[0]} | {means[1]} |")
    return lines


if __name__ == "__main__":
    main()
