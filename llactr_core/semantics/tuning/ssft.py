"""SSFT: the language model is tuned until a value's prompt lands on its field (LLaCTR, arXiv 2505.14057)."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from llactr_core.errors import OptionError
from llactr_core.progress import ProgressCallback
from llactr_core.schema import Schema
from llactr_core.semantics.encoder import TextEncoder, has_bfloat16
from llactr_core.semantics.options import SsftOptions
from llactr_core.semantics.tuning.adapter import add_adapter, lora_parameters, write_adapter
from llactr_core.semantics.tuning.report import history_entry, merit, tuning_metrics
from llactr_core.semantics.tuning.run import Run, Schedule
from llactr_core.semantics.tuning.team import ALONE, Team
from llactr_core.semantics.tuning.workload import Workload, prepare

STAGE = "tune fields"


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
        schedule = Schedule(STAGE, options.epochs, options.learning_rate)
        parameters = lora_parameters(encoder.model)
        state = Run(parameters, _Ssft(data, options), schedule, progress, checkpoint, recipe, team).complete()
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


@dataclass(frozen=True)
class _Ssft:
    """SSFT as the work of a run."""

    data: Workload
    options: SsftOptions

    def batches(self, epoch: int) -> list[list[int]]:
        return self.data.batches(self.options, epoch)

    def length(self, example: int) -> int:
        return len(self.data.train_rows[example])

    def loss(self, examples: Sequence[int], epoch: int) -> Tensor:
        data = self.data
        return data.task.loss([data.train_rows[i] for i in examples], [data.train[i] for i in examples])

    def judged(self, epoch: int, train_loss: float | None, team: Team) -> dict[str, Any]:
        evaluation = self.data.task.evaluate(self.data.judged_rows, self.data.judged, team)
        return history_entry(epoch, train_loss, evaluation, self.data.values)

    def merit(self, entry: Mapping[str, Any]) -> tuple[float, ...]:
        return merit(entry)
