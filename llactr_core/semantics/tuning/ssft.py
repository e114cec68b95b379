"""SSFT: the language model is tuned until a value's prompt lands on its field (LLaCTR, arXiv 2505.14057)."""

import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from llactr_core.errors import OptionError
from llactr_core.progress import Progress, ProgressCallback
from llactr_core.schema import Schema
from llactr_core.semantics.encoder import TextEncoder, has_bfloat16
from llactr_core.semantics.options import SsftOptions
from llactr_core.semantics.tuning.adapter import add_adapter, lora_parameters, read_adapter, write_adapter
from llactr_core.semantics.tuning.checkpoint import State, load_state, read_moments, save_state, write_moments
from llactr_core.semantics.tuning.report import history_entry, merit, tuning_metrics
from llactr_core.semantics.tuning.team import ALONE, Team
from llactr_core.semantics.tuning.workload import Workload, prepare

STAGE = "tune fields"
_WARM_UP = 0.1
_CLIP = 1.0


@dataclass(frozen=True)
class Tuned:
    """The result of `tune`: the chosen adapter, the modules it adapts, and what was measured on the way."""

    adapter: dict[str, Tensor]
    targets: tuple[str, ...]
    metrics: dict[str, Any]


def tune(
    encoder: TextEncoder,
    schema: Schema,
    samples: Mapping[str, Sequence[str]],
    options: SsftOptions,
    progress: ProgressCallback,
    checkpoint: Path | None = None,
    recipe: str = "",
    team: Team = ALONE,
) -> Tuned:
    """Tune a freshly loaded encoder; afterwards it holds the epoch that was best on held-out values.

    Best: the highest held-out field accuracy, then the lowest held-out loss; the untuned model is epoch 0 and takes
    part. With `checkpoint` the state is written after every epoch, and a tuning with the same `recipe` goes on from
    it to the same bits (given the same numbers of threads and processes). What `progress` raises ends the tuning.

    Every process of a `team` calls this with the same arguments and gets the same result; the prompts of each step are
    shared out, and the sums of gradients are those of one process, up to rounding. The team's leader alone reports
    and writes the checkpoint, which the others must be able to read.

    Raises:
        DataError: no field has a sample.
        OptionError: the objective needs a language-model head that is not there, LoRA's targets are unknown, or the
            model cannot compute its activations again although `checkpointing` is "on".
    """
    if options.objective != "contrastive":
        encoder.require_head()
    data = prepare(encoder, schema, samples, options)
    targets = add_adapter(encoder, options)
    if not _save_memory(encoder, options):
        encoder.share_prefix(data.train_rows)
    halved = tunes_in_bfloat16(options, encoder.device)
    precision = "bfloat16" if halved else "float32"
    with encoder.in_bfloat16() if halved else nullcontext():
        state = _Run(encoder, data, options, progress, checkpoint, recipe, team).complete()
        write_adapter(encoder.model, state.best)
    metrics = tuning_metrics(state, schema.names, data.values, len(data.train), data.held_out, encoder.device)
    return Tuned(state.best, targets, {**metrics, "precision": precision, "processes": team.count})


def tunes_in_bfloat16(options: SsftOptions, device: torch.device) -> bool:
    """Whether a tuning with these options multiplies in bfloat16 on this device."""
    return options.precision == "bfloat16" or (options.precision == "auto" and has_bfloat16(device))


def _save_memory(encoder: TextEncoder, options: SsftOptions) -> bool:
    """Let activations be computed again where the options want it; whether they are."""
    gpu = encoder.device.type == "cuda"
    if gpu:
        torch.cuda.reset_peak_memory_stats(encoder.device)
    wanted = options.checkpointing == "on" or (options.checkpointing == "auto" and gpu)
    recomputed = wanted and encoder.recompute_activations()
    if not recomputed and options.checkpointing == "on":
        kind = encoder.model.config.model_type
        raise OptionError(
            f"checkpointing is 'on', but this {kind!r} model cannot compute its activations again; use 'auto' or 'off'",
            field="checkpointing",
        )
    return recomputed


class _Run:
    """The loop over epochs, with its optimizer, checkpoint and reports."""

    def __init__(
        self,
        encoder: TextEncoder,
        data: Workload,
        options: SsftOptions,
        progress: ProgressCallback,
        checkpoint: Path | None,
        recipe: str,
        team: Team,
    ) -> None:
        self.encoder, self.data, self.options, self.team = encoder, data, options, team
        self.progress, self.checkpoint, self.recipe = progress, checkpoint, recipe
        self.parameters = lora_parameters(encoder.model)
        self.optimizer = torch.optim.AdamW(self.parameters.values(), lr=options.learning_rate, weight_decay=0.0)
        self.steps = len(data.batches(options, 0))
        self.total = self.steps * options.epochs
        self.began = time.monotonic()
        self.began_at = 0

    def complete(self) -> State:
        """Run the epochs that are left; the state after the last."""
        state = load_state(self.checkpoint, self.recipe) if self.checkpoint else None
        if state is None:
            state = self._first()
        else:
            write_adapter(self.encoder.model, state.adapter)
            write_moments(self.optimizer, self.parameters, state.moments)
        self.began_at = state.epoch * self.steps
        for epoch in range(state.epoch, self.options.epochs):
            state = self._epoch(state, epoch)
        return state

    def _first(self) -> State:
        """The state before any step: the untuned model, judged as epoch 0."""
        began = time.monotonic()
        if self.team.leads:
            self.progress(Progress(STAGE, 0.0, 0))
        adapter = read_adapter(self.encoder.model)
        entry = self._judged(0, None)
        state = State(0, adapter, adapter, 0, [entry], seconds=time.monotonic() - began)
        return self._saved(state)

    def _epoch(self, state: State, epoch: int) -> State:
        began, data = time.monotonic(), self.data
        batches = data.batches(self.options, epoch)
        losses, tokens, places = 0.0, 0, 0
        for number, batch in enumerate(batches):
            step = epoch * self.steps + number
            loss = self._step(batch, step)
            lengths = [len(data.train_rows[i]) for i in batch]
            losses += loss * len(batch)
            tokens += sum(lengths)
            places += self.team.places(lengths)
            self._report(step + 1, loss)
        entry = self._judged(epoch + 1, losses / sum(map(len, batches)))
        adapter = read_adapter(self.encoder.model)
        better = merit(entry) > merit(state.history[state.best_epoch])
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

    def _step(self, batch: Sequence[int], step: int) -> float:
        warm_up = max(1, round(_WARM_UP * self.total))
        rate = self.options.learning_rate * min((step + 1) / warm_up, 1.0) * (1 - step / self.total)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        loss = self._backward(batch)
        torch.nn.utils.clip_grad_norm_(self.parameters.values(), _CLIP)
        self.optimizer.step()
        return loss

    def _backward(self, batch: Sequence[int]) -> float:
        """Leave the gradient of the whole batch's loss in the parameters of every process; returns that loss."""
        own = self.team.share(batch)
        loss = torch.zeros(())
        if own:
            # Means over parts of the batch, weighted by their sizes, add up to the mean over the batch.
            part = self.data.task.loss([self.data.train_rows[i] for i in own], [self.data.train[i] for i in own])
            part = part * (len(own) / len(batch))
            part.backward()  # type: ignore[no-untyped-call]
            loss = part.detach()
        parameters = list(self.parameters.values())
        own_gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        *gradients, loss = self.team.add_up([*own_gradients, loss])
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        return float(loss)

    def _judged(self, epoch: int, train_loss: float | None) -> dict[str, Any]:
        evaluation = self.data.task.evaluate(self.data.judged_rows, self.data.judged, self.team)
        return history_entry(epoch, train_loss, evaluation, self.data.values)

    def _report(self, step: int, loss: float) -> None:
        if self.team.leads:
            per_step = (time.monotonic() - self.began) / max(1, step - self.began_at)
            self.progress(Progress(STAGE, step / self.total, step, loss, per_step * (self.total - step)))

    def _saved(self, state: State) -> State:
        if self.checkpoint and self.team.leads:
            save_state(self.checkpoint, state, self.recipe)
        return state
