"""How far the optimizer of the table is from torch's Adam on the dense gradient, on the same batches.

In double precision: in single precision two orders of the same additions drift apart in a deep model within a few
steps, since Adam moves a parameter by its full step also where its gradient is hardly more than rounding.
"""

import itertools
from dataclasses import replace

import torch

from benchmarks.training.dataset import Ids
from benchmarks.training.dense import dense_adam, dense_step
from benchmarks.training.ours import build
from llactr_core.training.adam import TableAdam
from llactr_core.training.data import Rows, TrainingBatches
from llactr_core.training.loop import score, train_step
from llactr_core.training.options import TrainOptions

SCORED = 10_000


def difference(ids: Ids, options: TrainOptions, steps: int) -> tuple[float, float]:
    """The largest difference between the losses of some steps, and between the scores of test rows after them."""
    rows = Rows(torch.from_numpy(ids.train), None, torch.from_numpy(ids.train_labels), None)
    size = options.batch_for(len(rows))
    batches = TrainingBatches(rows, ids.counts, ids.unseen, size, options.unseen_rate, options.seed)
    ours, plain = build(ids, options).double().train(), build(ids, options).double().train()
    optimizer = TableAdam(ours, options.learning_rate)
    dense = dense_adam(plain, options)
    losses = []
    for single in itertools.islice(batches.epoch(0), steps):
        batch = replace(single, labels=single.labels.double())
        bce = train_step(ours, optimizer, batch, options)
        losses.append(float((bce - dense_step(plain, dense, batch, options)).abs()))
    optimizer.settle()
    test = Rows(torch.from_numpy(ids.test[:SCORED]), None, torch.from_numpy(ids.test_labels[:SCORED]), None)
    return max(losses), float((score(ours, test) - score(plain, test)).abs().max())
