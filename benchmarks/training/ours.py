"""One model of ours on prepared ids: milliseconds a step of the loop that `llactr train` runs, and the test AUC.

Run as a child process, so that nothing of an earlier measurement is left in memory; prints one line of JSON.
"""

import argparse
import itertools
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.training.dataset import SIDES, Ids, load
from benchmarks.training.dense import dense_adam, dense_step
from llactr_core.enhancers.base import Enhancer
from llactr_core.enhancers.llactr import Llactr
from llactr_core.enhancers.model import CTRModel
from llactr_core.enhancers.options import LlactrOptions
from llactr_core.metrics.ranking import auc
from llactr_core.models.base import Shape
from llactr_core.models.embedding import FeatureEmbedding
from llactr_core.models.registry import BACKBONES, build_backbone
from llactr_core.training.adam import TableAdam
from llactr_core.training.data import Batch, Rows, TrainingBatches
from llactr_core.training.loop import score, train_step
from llactr_core.training.options import TrainOptions

WARM_UP = 5  # steps that are not timed
STEPS_IN_TURN = 8


def build(ids: Ids, options: TrainOptions) -> CTRModel:
    """An untrained model on the ids; its field vectors, where the enhancer needs some, are random ones of 384."""
    torch.manual_seed(options.seed)
    fields = len(ids.sizes)
    sides = tuple(itertools.islice(itertools.chain(SIDES.values(), itertools.repeat(None)), fields))
    backbone = build_backbone(options.backbone, Shape(fields, options.width, sides), options.backbone_options)
    first_order = BACKBONES[options.backbone].first_order
    embedding = FeatureEmbedding(int(ids.sizes.sum()), options.width, torch.arange(fields), first_order)
    vectors = torch.randn(fields, 384, generator=torch.Generator().manual_seed(0))
    enhancer = Enhancer() if options.enhancer == "none" else Llactr(vectors, options.width, LlactrOptions())
    return CTRModel(embedding, backbone, enhancer)


class Loop:
    """The steps of `llactr train` on the ids; with `dense` the plain ones of `dense_step`."""

    def __init__(self, ids: Ids, options: TrainOptions, *, dense: bool = False) -> None:
        rows = Rows(torch.from_numpy(ids.train), None, torch.from_numpy(ids.train_labels), None)
        size = options.batch_for(len(rows))
        self.batches = TrainingBatches(rows, ids.counts, ids.unseen, size, options.unseen_rate, options.seed)
        self.model = build(ids, options).train()
        self._step, self._settle = _plainly(self.model, options) if dense else _as_trained(self.model, options)
        self._left = self.batches.epoch(0)
        self._bce = torch.tensor(torch.nan)

    def run(self, steps: int) -> None:
        """Some more steps of the first epoch."""
        for batch in itertools.islice(self._left, steps):
            self._bce = self._step(batch)

    def end(self) -> float:
        """The last step's BCE, when all of the table is up to date."""
        self._settle()
        return float(self._bce)


def measure(ids: Ids, options: TrainOptions, steps: int | None, *, dense: bool = False) -> dict[str, float]:
    """Train for `steps` (an epoch where None is given), and say what a step took and what the model is worth."""
    loop = Loop(ids, options, dense=dense)
    warm_up = min(WARM_UP, len(loop.batches) - 1)
    timed = len(loop.batches) - warm_up if steps is None else min(steps, len(loop.batches) - warm_up)
    loop.run(warm_up)
    wall, cpu = time.perf_counter(), time.process_time()
    loop.run(timed)
    loss = loop.end()
    result = {
        "ms": 1e3 * (time.perf_counter() - wall) / timed,
        "cpu_ms": 1e3 * (time.process_time() - cpu) / timed,
        "loss": loss,
    }
    if steps is None:
        test = Rows(torch.from_numpy(ids.test), None, torch.from_numpy(ids.test_labels), None)
        result["auc"] = float(auc(ids.test_labels, np.asarray(score(loop.model, test))))
    return result


def measure_enhanced(ids: Ids, options: TrainOptions, rounds: int) -> dict[str, float]:
    """How many times a step of the plain model a step with LLaCTR takes: the median of rounds of both in turn."""
    plain, enhanced = (Loop(ids, options.model_copy(update={"enhancer": name})) for name in ("none", "llactr"))
    ratios = []
    for number in range(rounds + 1):
        took = []
        for loop in (plain, enhanced):
            began = time.perf_counter()
            loop.run(STEPS_IN_TURN)
            took.append(time.perf_counter() - began)
        if number:  # the first round warms up
            ratios.append(took[1] / took[0])
    return {"ratio": statistics.median(ratios)}


def _as_trained(model: CTRModel, options: TrainOptions) -> tuple[Callable[[Batch], Tensor], Callable[[], None]]:
    optimizer = TableAdam(model, options.learning_rate)
    return lambda batch: train_step(model, optimizer, batch, options), optimizer.settle


def _plainly(model: CTRModel, options: TrainOptions) -> tuple[Callable[[Batch], Tensor], Callable[[], None]]:
    optimizer = dense_adam(model, options)
    return lambda batch: dense_step(model, optimizer, batch, options), lambda: None


def main() -> None:
    """Read what to measure from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("ids", type=Path)
    parser.add_argument("options", help="training options as JSON")
    parser.add_argument("--steps", type=int, help="an epoch where it is not given; only an epoch gives an AUC")
    parser.add_argument("--rows", type=int, help="rows of train that there are; all where it is not given")
    parser.add_argument("--dense", action="store_true", help="torch's Adam on the dense gradient")
    parser.add_argument("--rounds", type=int, help="only how LLaCTR's step compares with the plain one, in rounds")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    options = TrainOptions.parse(json.loads(arguments.options))
    ids = load(arguments.ids)
    some = replace(ids, train=ids.train[: arguments.rows], train_labels=ids.train_labels[: arguments.rows])
    if arguments.rounds:
        print(json.dumps(measure_enhanced(some, options, arguments.rounds)))
    else:
        print(json.dumps(measure(some, options, arguments.steps, dense=arguments.dense)))


if __name__ == "__main__":
    main()
