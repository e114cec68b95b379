"""The one training loop."""

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from itertools import accumulate, pairwise

import torch
from torch import Tensor
from torch.nn import functional

from llactr_core.enhancers.base import Features
from llactr_core.enhancers.model import CTRModel
from llactr_core.errors import DataError
from llactr_core.metrics.report import evaluate
from llactr_core.progress import Progress, ProgressCallback
from llactr_core.training.adam import TableAdam
from llactr_core.training.checkpoint import Checkpoint
from llactr_core.training.data import Batch, Rows, TrainingBatches
from llactr_core.training.options import TrainOptions
from llactr_core.training.seeds import derived_seed

SCORED_AT_ONCE = 8192
TRAINED = 0.98  # the share of the bar at which the last epoch has ended
NO_NUMBER = "the loss is no longer a number; lower the learning rate or look for extreme values"


@dataclass
class History:
    """Where a run stands: steps done, the evaluations so far, and the best of them."""

    step: int = 0
    evaluations: list[dict[str, float]] = field(default_factory=list)
    best: int = -1
    seconds: float = 0.0

    @property
    def stale(self) -> int:
        """Evaluations since the best one."""
        return len(self.evaluations) - 1 - self.best

    @property
    def misses(self) -> int:
        """Evaluations, of all so far, that were no better than the best before them."""
        best = list(accumulate((one["auc"] for one in self.evaluations), max))
        return sum(now <= before for before, now in pairwise(best))


def fit(
    model: CTRModel,
    batches: TrainingBatches,
    valid: Rows,
    options: TrainOptions,
    checkpoint: Checkpoint | None,
    progress: ProgressCallback,
    *,
    is_warm: bool = False,
    on_evaluation: Callable[[History], None] | None = None,
) -> History:
    """Train until validation AUC stops rising, and leave the best weights in the model.

    After each evaluation the state is saved; a run that was killed continues from there to the same result, bit for
    bit, given the same number of threads. A warm model is evaluated before the first step too, so that it never ends
    worse on these rows than it began. `on_evaluation` is told the history then; what it raises ends the run.

    Raises:
        DataError: the loss is no longer a number.
    """
    optimizer = TableAdam(model, options.learning_rate)
    history = History()
    best = _copy(model)
    saved = None if checkpoint is None else checkpoint.load(model, optimizer)
    if saved is not None:
        best, state = saved
        history = History(**state)  # type: ignore[arg-type]
    elif is_warm:
        history = History(evaluations=[_evaluated(model, valid)], best=0)
    last = options.epochs * len(batches)
    stops = _evaluation_steps(len(batches), options)
    reporter = _Reporter(progress, len(batches), options, history)
    while history.step < last and history.stale < options.patience:
        started = time.monotonic()
        optimizer.set_rate(options.learning_rate * options.rate_decay**history.misses)
        _train_to(model, optimizer, batches, options, history, stops, reporter)
        optimizer.settle()
        history.evaluations.append(_evaluated(model, valid))
        history.seconds += time.monotonic() - started
        if _is_best(history):
            history.best = len(history.evaluations) - 1
            best = _copy(model)
        if checkpoint is not None:
            checkpoint.save(model, optimizer, best, asdict(history))
        if on_evaluation is not None:
            on_evaluation(history)
        reporter.report()
    model.load_state_dict(best)
    model.eval()
    return history


@torch.no_grad()
def logits_of(model: CTRModel, rows: Rows) -> Tensor:
    """Logits float32 [N] of rows, dropout off."""
    model.eval()
    table = model.folded()
    parts = []
    for start in range(0, len(rows), SCORED_AT_ONCE):
        part = slice(start, start + SCORED_AT_ONCE)
        parts.append(model(rows.ids[part], None if rows.weights is None else rows.weights[part], table)[0])
    return torch.cat(parts)


def score(model: CTRModel, rows: Rows) -> Tensor:
    """Uncalibrated probabilities float32 [N] of rows, dropout off."""
    return torch.sigmoid(logits_of(model, rows))


def _evaluated(model: CTRModel, rows: Rows) -> dict[str, float]:
    probabilities = score(model, rows)
    if not probabilities.isfinite().all():
        raise DataError(NO_NUMBER)
    return evaluate(rows.labels.numpy(), probabilities.numpy(), rows.groups)


def loss_of(model: CTRModel, batch: Batch, rows: Tensor, own: Tensor, options: TrainOptions) -> tuple[Tensor, Tensor]:
    """(what is minimised, its BCE part): BCE + the enhancer's terms + L2 of the batch's embeddings, scalars.

    The batch's ids are places in `rows`, the ids [R] that were looked up for it, and in `own`, their rows of the table.
    By occurrence the L2 is that of the embeddings as the backbone reads them, |v|^2 summed over the fields of a row of
    the batch. By row it is that of the values' own embeddings, each value of the batch once, so that they are drawn
    towards what the texts say; a value that the batch has once weighs the same either way.
    """
    offsets = model.enhancer.offsets(rows)
    table = own if offsets is None else own + offsets
    with torch.autocast(table.device.type, torch.bfloat16, enabled=options.precision == "bf16"):
        logit, v = model(batch.ids, batch.weights, table, rows)
    bce = functional.binary_cross_entropy_with_logits(logit.to(table.dtype), batch.labels)
    if batch.weights is None:
        features = Features.of_rows(table[:, : model.embedding.width], batch.ids)
    else:
        features = Features.of(v[:, : model.embedding.fields])
    if options.l2_by == "occurrence":
        squares = model.embedding.fields * features.mean_square()
    else:
        squares = own[:, : model.embedding.width].square().sum() / len(batch.labels)
    loss = bce + model.enhancer.loss(features) + options.embedding_l2 * squares
    of_rows = model.enhancer.row_loss(v, batch.ids)
    return (loss if of_rows is None else loss + of_rows), bce


def train_step(model: CTRModel, optimizer: TableAdam, batch: Batch, options: TrainOptions) -> Tensor:
    """One step of the optimizer on a batch; returns its BCE, a scalar."""
    if model.origins is None and batch.own is None:
        rows, own, places = optimizer.look_up(batch.ids)
    else:  # what has a row of the table in common can have another text
        size = len(model.embedding.table)
        ids = batch.ids.long()
        taken = ids if batch.own is None else batch.own.long()
        pairs, places = torch.unique(taken * size + ids, return_inverse=True)
        rows, taken = pairs % size, pairs // size
        _, shared, which = optimizer.look_up(taken if model.origins is None else model.origins[taken])
        own = shared.index_select(0, which)
    loss, bce = loss_of(model, replace(batch, ids=places), rows, own, options)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return bce.detach()


def _train_to(
    model: CTRModel,
    optimizer: TableAdam,
    batches: TrainingBatches,
    options: TrainOptions,
    history: History,
    stops: set[int],
    reporter: "_Reporter",
) -> None:
    """Steps up to the next evaluation. Each evaluation's stretch of an epoch reseeds what torch draws (dropout)."""
    model.train()
    epoch, step = divmod(history.step, len(batches))
    torch.manual_seed(derived_seed(options.seed, epoch, step))
    for batch in batches.epoch(epoch, step):
        bce = train_step(model, optimizer, batch, options)
        history.step += 1
        reporter.step(bce)
        if history.step % len(batches) in stops:
            return


def _evaluation_steps(steps: int, options: TrainOptions) -> set[int]:
    return {round(steps * (i + 1) / options.evaluations) % steps for i in range(options.evaluations)}


def _is_best(history: History) -> bool:
    value = history.evaluations[-1]["auc"]
    return history.best < 0 or value > history.evaluations[history.best]["auc"]


def _copy(model: CTRModel) -> dict[str, Tensor]:
    return {name: t.detach().clone() for name, t in model.state_dict().items()}


class _Reporter:
    """Passes on the loss as a running mean, and the time left if all epochs are used."""

    def __init__(self, progress: ProgressCallback, steps: int, options: TrainOptions, history: History) -> None:
        self.progress = progress
        self.steps = steps
        self.options = options
        self.history = history
        self.began = time.monotonic()
        self.first = history.step
        self.last_report = 0.0
        self.loss: float | None = None

    def step(self, bce: Tensor) -> None:
        now = time.monotonic()
        if now - self.last_report < 0.1:
            return
        self.last_report = now
        value = bce.item()
        if not math.isfinite(value):
            raise DataError(NO_NUMBER)
        self.loss = value if self.loss is None else 0.9 * self.loss + 0.1 * value
        self.report()

    def report(self) -> None:
        """Tell where the run stands."""
        now = time.monotonic()
        done = self.history.step
        total = self.options.epochs * self.steps
        eta = (now - self.began) / max(done - self.first, 1) * (total - done)
        epoch = min((done - 1) // self.steps + 1, self.options.epochs)
        stage = f"training, epoch {epoch} of at most {self.options.epochs}{_measured(self.history)}"
        self.progress(Progress(stage, TRAINED * done / total, done, self.loss, eta))


def _measured(history: History) -> str:
    """The last evaluation in words, and the best one; nothing before the first."""
    if not history.evaluations:
        return ""
    last, best = history.evaluations[-1], history.evaluations[history.best]
    return f"; valid AUC {last['auc']:.4f}, LogLoss {last['logloss']:.4f}; best AUC {best['auc']:.4f}"
