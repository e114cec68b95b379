"""One model of ours on prepared ids: milliseconds a step of the loop that `llactr train` runs, and the test AUC.

Run as a child process, so that nothing of an earlier measurement is left in memory; prints one line of JSON.
"""

import argparse
import itertools
import json
import time
from pathlib import Path

import numpy as np
import torch

from benchmarks.training.dataset import SIDES, Ids, load
from llactr_core.enhancers.base import Enhancer
from llactr_core.enhancers.llactr import Llactr
from llactr_core.enhancers.model import CTRModel
from llactr_core.enhancers.options import LlactrOptions
from llactr_core.metrics.ranking import auc
from llactr_core.models.base import Shape
from llactr_core.models.embedding import FeatureEmbedding
from llactr_core.models.registry import BACKBONES, build_backbone
from llactr_core.training.adam import TableAdam
from llactr_core.training.data import Rows, TrainingBatches
from llactr_core.training.loop import score, train_step
from llactr_core.training.options import TrainOptions

WARM_UP = 5  # steps that are not timed


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


def measure(ids: Ids, options: TrainOptions, steps: int | None) -> dict[str, float]:
    """Train for `steps` (an epoch where None is given), and say what a step took and what the model is worth."""
    rows = Rows(torch.from_numpy(ids.train), None, torch.from_numpy(ids.train_labels), None)
    size = options.batch_for(len(rows))
    batches = TrainingBatches(rows, ids.counts, ids.unseen, size, options.unseen_rate, options.seed)
    model = build(ids, options).train()
    optimizer = TableAdam(model, options.learning_rate)
    count = len(batches) if steps is None else min(steps + WARM_UP, len(batches))
    wall, cpu = 0.0, 0.0
    for done, batch in enumerate(itertools.islice(batches.epoch(0), count)):
        if done == WARM_UP:
            wall, cpu = time.perf_counter(), time.process_time()
        bce = train_step(model, optimizer, batch, options)
    optimizer.settle()
    timed = count - WARM_UP
    result = {
        "ms": 1e3 * (time.perf_counter() - wall) / timed,
        "cpu_ms": 1e3 * (time.process_time() - cpu) / timed,
        "loss": float(bce),
    }
    if steps is None:
        test = Rows(torch.from_numpy(ids.test), None, torch.from_numpy(ids.test_labels), None)
        result["auc"] = float(auc(ids.test_labels, np.asarray(score(model, test))))
    return result


def main() -> None:
    """Read what to measure from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("ids", type=Path)
    parser.add_argument("options", help="training options as JSON")
    parser.add_argument("--steps", type=int, help="an epoch where it is not given; only an epoch gives an AUC")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    options = TrainOptions.parse(json.loads(arguments.options))
    print(json.dumps(measure(load(arguments.ids), options, arguments.steps)))


if __name__ == "__main__":
    main()
