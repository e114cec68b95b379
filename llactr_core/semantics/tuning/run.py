"""The loop over epochs of a tuning, with its optimizer, checkpoint and reports: whatever is tuned, and for what."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from llactr_core.progress import Progress, ProgressCallback
from llactr_core.semantics.tuning.checkpoint import State, load_state, read_moments, save_state, write_moments
from llactr_core.semantics.tuning.team import ALONE, Team

_WARM_UP = 0.1
_CLIP = 1.0


class Work(Protocol):
    """What is tuned for: examples by number, their loss, and what the held-out ones say."""

    def batches(self, epoch: int) -> list[list[int]]:
        """The batches of an epoch, as numbers of examples; every epoch has as many."""

    def length(self, example: int) -> int:
        """The tokens that an example has."""

    def loss(self, examples: Sequence[int], epoch: int) -> Tensor:
        """The mean loss of some examples, with gradient."""

    def judged(self, epoch: int, train_loss: float | None, team: Team) -> dict[str, Any]:
        """The history's entry of an epoch; epoch 0 is the untuned model, without a training loss."""

    def merit(self, entry: Mapping[str, Any]) -> tuple[float, ...]:
        """What the epoch is chosen by; the highest."""


@dataclass(frozen=True)
class Schedule:
    """How long and how fast: epochs, and the peak of the learning rate (warm-up over a tenth, then linear decay)."""

    stage: str
    epochs: int
    learning_rate: float


class Run:
    """One tuning of some parameters; afterwards they are those of the last epoch, and the state has the best.

    Args:
        parameters: what is tuned, by name.
        work: what for.
        schedule: how long and how fast.
        progress: is told the stage, the loss and the time left; what it raises ends the tuning.
        checkpoint: the file that the state is written to after every epoch.
        recipe: a run with the same one goes on from the checkpoint to the same bits.
        team: the processes that share every step; the leader reports and writes.
    """

    def __init__(
        self,
        parameters: dict[str, nn.Parameter],
        work: Work,
        schedule: Schedule,
        progress: ProgressCallback,
        checkpoint: Path | None,
        recipe: str,
        team: Team = ALONE,
    ) -> None:
        self.parameters, self.work, self.schedule, self.team = parameters, work, schedule, team
        self.progress, self.checkpoint, self.recipe = progress, checkpoint, recipe
        self.optimizer = torch.optim.AdamW(parameters.values(), lr=schedule.learning_rate, weight_decay=0.0)
        self.steps = len(work.batches(0))
        self.total = self.steps * schedule.epochs
        self.began = time.monotonic()
        self.began_at = 0

    def complete(self) -> State:
        """Run the epochs that are left; the state after the last."""
        state = load_state(self.checkpoint, self.recipe) if self.checkpoint else None
        if state is None:
            state = self._first()
        else:
            put(self.parameters, state.adapter)
            write_moments(self.optimizer, self.parameters, state.moments)
        self.began_at = state.epoch * self.steps
        for epoch in range(state.epoch, self.schedule.epochs):
            state = self._epoch(state, epoch)
        return state

    def _first(self) -> State:
        """The state before any step: the untuned model, judged as epoch 0."""
        began = time.monotonic()
        if self.team.leads:
            self.progress(Progress(self.schedule.stage, 0.0, 0))
        adapter = copied(self.parameters)
        entry = self.work.judged(0, None, self.team)
        return self._saved(State(0, adapter, adapter, 0, [entry], seconds=time.monotonic() - began))

    def _epoch(self, state: State, epoch: int) -> State:
        began = time.monotonic()
        batches = self.work.batches(epoch)
        losses, tokens, places = 0.0, 0, 0
        for number, batch in enumerate(batches):
            step = epoch * self.steps + number
            loss = self._step(batch, step, epoch)
            lengths = [self.work.length(i) for i in batch]
            losses += loss * len(batch)
            tokens += sum(lengths)
            places += self.team.places(lengths)
            self._report(step + 1, loss)
        entry = self.work.judged(epoch + 1, losses / sum(map(len, batches)), self.team)
        adapter = copied(self.parameters)
        better = self.work.merit(entry) > self.work.merit(state.history[state.best_epoch])
        return self._saved(
            replace(
                state,
                epoch=epoch + 1,
                adapter=adapter,
                best=adapter if better else state.best,
                best_epoch=epoch + 1 if better else state.best_epoch,
                history=[*state.history, entry],
                moments=read_moments(self.optimizer, self.parameters),
                seconds=state.seconds + time.monotonic() - began,
                tokens=state.tokens + tokens,
                places=state.places + places,
            )
        )

    def _step(self, batch: Sequence[int], step: int, epoch: int) -> float:
        warm_up = max(1, round(_WARM_UP * self.total))
        rate = self.schedule.learning_rate * min((step + 1) / warm_up, 1.0) * (1 - step / self.total)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        loss = self._backward(batch, epoch)
        torch.nn.utils.clip_grad_norm_(self.parameters.values(), _CLIP)
        self.optimizer.step()
        return loss

    def _backward(self, batch: Sequence[int], epoch: int) -> float:
        """Leave the gradient of the whole batch's loss in the parameters of every process; returns that loss."""
        own = self.team.share(batch)
        loss = torch.zeros(())
        if own:
            # Means over parts of the batch, weighted by their sizes, add up to the mean over the batch.
            part = self.work.loss(own, epoch) * (len(own) / len(batch))
            part.backward()  # type: ignore[no-untyped-call]
            loss = part.detach()
        parameters = list(self.parameters.values())
        own_gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        *gradients, loss = self.team.add_up([*own_gradients, loss])
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        return float(loss)

    def _report(self, step: int, loss: float) -> None:
        if self.team.leads:
            per_step = (time.monotonic() - self.began) / max(1, step - self.began_at)
            self.progress(Progress(self.schedule.stage, step / self.total, step, loss, per_step * (self.total - step)))

    def _saved(self, state: State) -> State:
        if self.checkpoint and self.team.leads:
            save_state(self.checkpoint, state, self.recipe)
        return state


def copied(parameters: Mapping[str, nn.Parameter]) -> dict[str, Tensor]:
    """A copy of the parameters, on the CPU."""
    return {name: parameter.detach().cpu().clone() for name, parameter in parameters.items()}


@torch.no_grad()
def put(parameters: Mapping[str, nn.Parameter], values: Mapping[str, Tensor]) -> None:
    """Set the parameters to values of the same names and shapes."""
    for name, parameter in parameters.items():
        parameter.copy_(values[name])
