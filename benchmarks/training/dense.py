"""The plain way to train: torch's Adam on the gradient of the whole table."""

from dataclasses import replace

import torch
from torch import Tensor

from llactr_core.enhancers.model import CTRModel
from llactr_core.training.data import Batch
from llactr_core.training.loop import loss_of
from llactr_core.training.options import TrainOptions


def dense_adam(model: CTRModel, options: TrainOptions) -> torch.optim.Adam:
    """The optimizer of `dense_step`."""
    return torch.optim.Adam(model.parameters(), lr=options.learning_rate)


def dense_step(model: CTRModel, optimizer: torch.optim.Adam, batch: Batch, options: TrainOptions) -> Tensor:
    """One step on a batch; returns its BCE, a scalar."""
    optimizer.zero_grad(set_to_none=True)
    every = torch.arange(len(model.embedding.table))
    loss, bce = loss_of(model, replace(batch, ids=batch.ids.long()), every, model.embedding.table, options)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return bce.detach()
