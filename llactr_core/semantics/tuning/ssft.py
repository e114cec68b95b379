"""SSFT: the language model is tuned until a value's prompt lands on its field (LLaCTR, arXiv 2505.14057)."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from llactr_core.errors import DataError
from llactr_core.progress import Progress, ProgressCallback
from llactr_core.schema import Schema
from llactr_core.semantics.encoder import TextEncoder, Tokens, has_bfloat16
from llactr_core.semantics.options import SsftOptions
from llactr_core.semantics.template import candidates
from llactr_core.semantics.tuning.adapter import add_adapter, lora_parameters, read_adapter, write_adapter
from llactr_core.semantics.tuning.checkpoint import State, load_state, read_moments, save_state, write_moments
from llactr_core.semantics.tuning.examples import Example, build_examples, epoch_order, split_examples
from llactr_core.semantics.tuning.loss import Task
from llactr_core.semantics.tuning.report import history_entry, merit, tuning_metrics

STAGE = "tune fields"
_WARM_UP = 0.1
_LEAST_BATCHES = 4  # an epoch over a handful of values still takes this many steps
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
) -> Tuned:
    """Tune a freshly loaded encoder; afterwards it holds the epoch that was best on held-out values.

    Best: the highest held-out field accuracy, then the lowest held-out loss; the untuned model is epoch 0 and takes
    part. With `checkpoint` the state is written after every epoch, and a tuning with the same `recipe` goes on from
    it to the same bits (given the same number of threads). What `progress` raises ends the tuning.

    Raises:
        DataError: no field has a sample.
        OptionError: the objective needs a language-model head that is not there, or LoRA's targets are unknown.
    """
    if options.objective != "contrastive":
        encoder.require_head()
    data = _prepare(encoder, schema, samples, options)
    targets = add_adapter(encoder, options)
    encoder.bfloat16 = options.precision == "bfloat16" or (options.precision == "auto" and has_bfloat16(encoder.device))
    precision = "bfloat16" if encoder.bfloat16 else "float32"
    try:
        state = _Run(encoder, data, options, progress, checkpoint, recipe).complete()
        write_adapter(encoder.model, state.best)
    finally:
        encoder.bfloat16 = False
    metrics = tuning_metrics(state, schema.names, len(data.train), data.held_out, encoder.device)
    return Tuned(state.best, targets, {**metrics, "precision": precision})


@dataclass(frozen=True)
class _Data:
    """Examples with their prompts as token rows, and the task over the K fields."""

    task: Task
    train: list[Example]
    train_rows: list[Tokens]
    judged: list[Example]
    judged_rows: list[Tokens]
    held_out: int
    steps: int

    @property
    def count(self) -> int:
        """K, the number of fields."""
        return len(self.task.fields)


def _prepare(encoder: TextEncoder, schema: Schema, samples: Mapping[str, Sequence[str]], options: SsftOptions) -> _Data:
    names = candidates(schema)
    examples = build_examples(samples, schema.names, options.max_chars)
    if not examples:
        raise DataError(f"no field of the schema {schema.name!r} has a sample; give samples, or a dataset with values")
    train, held_out = split_examples(examples, len(names), options.held_out, options.seed)
    # With so few values that none can be spared, the epoch is chosen on the training values.
    judged = held_out or train
    rows = _prompts(encoder, [*train, *judged], names, options.max_chars)
    answers = encoder.answers(names) if options.objective != "contrastive" else []
    fields = encoder.tokenize(encoder.template.fields(schema))
    task = Task(encoder, options.objective, options.temperature, fields, answers)
    steps = math.ceil(len(epoch_order(train, len(names), _epoch_size(train, options), 0, 0)) / options.batch_size)
    return _Data(task, train, rows[: len(train)], judged, rows[len(train) :], len(held_out), steps)


def _prompts(encoder: TextEncoder, examples: Sequence[Example], names: tuple[str, ...], max_chars: int) -> list[Tokens]:
    return encoder.tokenize([encoder.template.prompt(example.value, names, max_chars) for example in examples])


def _epoch_size(train: Sequence[Example], options: SsftOptions) -> int:
    return max(len(train), _LEAST_BATCHES * options.batch_size)


class _Run:
    """The loop over epochs, with its optimizer, checkpoint and reports."""

    def __init__(
        self,
        encoder: TextEncoder,
        data: _Data,
        options: SsftOptions,
        progress: ProgressCallback,
        checkpoint: Path | None,
        recipe: str,
    ) -> None:
        self.encoder, self.data, self.options = encoder, data, options
        self.progress, self.checkpoint, self.recipe = progress, checkpoint, recipe
        self.parameters = lora_parameters(encoder.model)
        self.optimizer = torch.optim.AdamW(self.parameters.values(), lr=options.learning_rate, weight_decay=0.0)
        self.total = data.steps * options.epochs
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
        self.began_at = state.epoch * self.data.steps
        for epoch in range(state.epoch, self.options.epochs):
            state = self._epoch(state, epoch)
        return state

    def _first(self) -> State:
        """The state before any step: the untuned model, judged as epoch 0."""
        began = time.monotonic()
        self.progress(Progress(STAGE, 0.0, 0))
        adapter = read_adapter(self.encoder.model)
        entry = history_entry(0, None, self.data.task.evaluate(self.data.judged_rows, self.data.judged))
        state = State(0, adapter, adapter, 0, [entry], seconds=time.monotonic() - began)
        return self._saved(state)

    def _epoch(self, state: State, epoch: int) -> State:
        began, data = time.monotonic(), self.data
        order = epoch_order(data.train, data.count, _epoch_size(data.train, self.options), self.options.seed, epoch)
        losses, tokens = 0.0, 0
        # Batches of equal size, so that the last one is no noisier than the others.
        for number, part in enumerate(np.array_split(order, data.steps)):
            batch: list[int] = part.tolist()
            step = epoch * data.steps + number
            loss = self._step(batch, step)
            losses += loss * len(batch)
            tokens += sum(len(data.train_rows[i]) for i in batch)
            self._report(step + 1, loss)
        evaluation = data.task.evaluate(data.judged_rows, data.judged)
        entry = history_entry(epoch + 1, losses / len(order), evaluation)
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
            )
        )

    def _step(self, batch: Sequence[int], step: int) -> float:
        warm_up = max(1, round(_WARM_UP * self.total))
        rate = self.options.learning_rate * min((step + 1) / warm_up, 1.0) * (1 - step / self.total)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.data.task.loss([self.data.train_rows[i] for i in batch], [self.data.train[i] for i in batch])
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.parameters.values(), _CLIP)
        self.optimizer.step()
        return float(loss.detach())

    def _report(self, step: int, loss: float) -> None:
        per_step = (time.monotonic() - self.began) / max(1, step - self.began_at)
        self.progress(Progress(STAGE, step / self.total, step, loss, per_step * (self.total - step)))

    def _saved(self, state: State) -> State:
        if self.checkpoint:
            save_state(self.checkpoint, state, self.recipe)
        return state
