"""One method on one dataset, in a process of its own: what the language model cost, and what came of it."""

import argparse
import json
import os
import resource
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

from llactr_core.data.encoding import Encoder
from llactr_core.data.splits import Splits, open_dataset
from llactr_core.enhancers.ctrl.options import Nouns
from llactr_core.enhancers.larr.build import build_scene_table
from llactr_core.files import write_atomic
from llactr_core.metrics.report import evaluate
from llactr_core.schema import Schema
from llactr_core.semantics.build import build_field_table
from llactr_core.semantics.options import SsftOptions
from llactr_core.semantics.sampling import draw_samples
from llactr_core.semantics.semantics import Semantics
from llactr_core.semantics.weights import DEFAULT_MODEL
from llactr_core.training.align import align
from llactr_core.training.loop import logits_of
from llactr_core.training.options import TrainOptions
from llactr_core.training.prepared import Prepared
from llactr_core.training.run import Trained, train_model
from llactr_core.training.serving import exact_logits
from llactr_core.training.warm import WarmStart

TRIALS: tuple[Mapping[str, object], ...] = (
    {},
    {"learning_rate": 3e-3},
    {"embedding_l2": 1e-3},
    {"learning_rate": 3e-3, "embedding_l2": 1e-3},
    {"unseen_rate": 1.0},
    {"learning_rate": 3e-4},
)
NOUNS = {"ml1m": Nouns(item="a movie"), "takeaway": Nouns(item="a restaurant")}


@dataclass(frozen=True)
class Task:
    """A dataset, and a folder to work in."""

    name: str
    splits: Splits
    schema: Schema
    work: Path


@dataclass(frozen=True)
class Ready:
    """What a training begins with, when the language model has done its part."""

    data: Prepared
    semantics: Semantics = field(default_factory=Semantics)
    start: WarmStart | None = None


@dataclass(frozen=True)
class Run:
    """One trial: what it changed, its options, what came out, and CPU seconds."""

    trial: Mapping[str, object]
    options: TrainOptions
    trained: Trained
    cpu_s: float

    @property
    def auc(self) -> float:
        """On the part of valid that stopped it."""
        history = self.trained.history
        return history.evaluations[history.best]["auc"]


def plain(task: Task, _options: TrainOptions) -> Ready:
    """The backbone alone."""
    return Ready(Prepared.read(task.splits, task.schema))


def llactr(task: Task, _options: TrainOptions) -> Ready:
    """Field semantics: SSFT, then a vector per field."""
    tuning = SsftOptions(device="cpu")
    samples = draw_samples(task.schema, task.splits.train.batches(), tuning.sam_num, tuning.seed)
    table = build_field_table(task.schema, samples, DEFAULT_MODEL, tuning)
    return Ready(Prepared.read(task.splits, task.schema), Semantics(table))


def ctrl(task: Task, options: TrainOptions) -> Ready:
    """Stage 1; the trials differ in what it does not depend on."""
    data = Prepared.read(task.splits, task.schema)
    return Ready(data, start=align(data, options, DEFAULT_MODEL, task.work / "ctrl").start)


def larr(task: Task, options: TrainOptions) -> Ready:
    """Stages 1 and 2, then a vector per value of the scene."""
    encoder = Encoder.fit(task.schema, task.splits.train.batches(task.schema.columns))
    work = task.work / "larr"
    table = build_scene_table(encoder, task.splits.train, DEFAULT_MODEL, options.larr, work, device="cpu")
    return Ready(Prepared.read(task.splits, task.schema, table), Semantics(values=table))


METHODS: dict[str, tuple[str, Callable[[Task, TrainOptions], Ready]]] = {
    "plain": ("none", plain),
    "llactr": ("llactr", llactr),
    "ctrl": ("ctrl", ctrl),
    "larr": ("larr", larr),
}


def methods_for(schema: Schema) -> list[str]:
    """The methods that a schema has what it takes for: LARR needs fields of the scene."""
    has_scene = any(one.scene for one in schema.fields)
    return [name for name in METHODS if name != "larr" or has_scene]


def measured(method: str, task: Task, trials: int) -> dict[str, Any]:
    """Train with each of the first trials, choose by validation, and judge the chosen one on test.

    Returns:
        CPU seconds of the language model's part (`model_s`) and of one training with the defaults (`training_s`), wall
        seconds of everything, the peak of memory, and AUC and LogLoss on test.
    """
    enhancer, prepare = METHODS[method]
    fixed = TrainOptions.parse(
        {"enhancer": enhancer, "ctrl": {"nouns": NOUNS[task.name].model_dump(), "device": "cpu"}}
    )
    began, cpu = time.perf_counter(), time.process_time()
    ready = prepare(task, fixed)
    model_s = time.process_time() - cpu
    runs: list[Run] = []
    for trial in TRIALS[:trials]:
        cpu = time.process_time()
        options = TrainOptions.parse({**fixed.model_dump(), **trial})
        trained = train_model(ready.data, ready.semantics, options, warm=ready.start)
        runs.append(Run(trial, options, trained, time.process_time() - cpu))
    best = max(runs, key=lambda run: run.auc)
    judged = _judged(best, ready.data)
    return {
        "dataset": task.name,
        "method": method,
        "rows": len(ready.data.train),
        "trials": trials,
        "model_s": model_s,
        "training_s": runs[0].cpu_s,
        "wall_s": time.perf_counter() - began,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "valid_auc": best.auc,
        "auc": judged["auc"],
        "logloss": judged["logloss"],
        "chosen": dict(best.trial),
    }


def _judged(run: Run, data: Prepared) -> dict[str, float]:
    calibrator = run.trained.held_out.fitted(exact_logits(run.trained.model), run.options)
    test = data.test()
    logits = logits_of(run.trained.model, test).double().numpy()
    return evaluate(test.labels.numpy(), calibrator.probabilities(logits))


def main() -> None:
    """`python -m benchmarks.methods.measure NAME FOLDER METHOD TRIALS OUT`; the folder holds splits and schema.yaml."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, kind in (("name", str), ("folder", Path), ("method", str), ("trials", int), ("out", Path)):
        parser.add_argument(name, type=kind)
    given = parser.parse_args()
    schema = Schema.load(given.folder / "schema.yaml")
    task = Task(given.name, open_dataset(given.folder, schema.label), schema, given.out.with_suffix(".work"))
    found = measured(given.method, task, given.trials)
    write_atomic(given.out, json.dumps(found).encode())


if __name__ == "__main__":
    main()
