"""The loop of CTRL's stage 1: epochs over the rows, the rate, the checkpoint and the reports."""

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from llactr_core.enhancers.ctrl.aligner import Aligner, Distinct
from llactr_core.enhancers.ctrl.options import CtrlOptions
from llactr_core.enhancers.ctrl.sentences import Sentences
from llactr_core.errors import ArtifactError, DataError
from llactr_core.files import replacing
from llactr_core.progress import Progress, ProgressCallback
from llactr_core.semantics.encoder import TextEncoder

SAVED_EVERY_S = 300.0
STAGE = "ctrl 1: alignment"


@dataclass
class Work:
    """What has been done: steps, the mean loss of each epoch, sentences and tokens that were read, and seconds.

    A sentence counts once per batch that has it.
    """

    step: int = 0
    losses: list[float] = field(default_factory=list)
    sentences: int = 0
    tokens: int = 0
    seconds: float = 0.0
    epoch_loss: float = 0.0  # the sum over the steps of the present epoch


class Run:
    """One alignment.

    Args:
        aligner: what is trained.
        encoder: the tokenizer of its language model.
        ids: int [N, S], the encoded rows.
        weights: float32 [N, S], or None.
        sentences: of the same rows.
        options: how long and how fast.
        checkpoint: the file that the state is written to now and then.
        key: a run with the same one goes on from the checkpoint to the same bits.
        progress: is told the stage, the loss and the time left; what it raises ends the run.
    """

    def __init__(
        self,
        aligner: Aligner,
        encoder: TextEncoder,
        ids: Tensor,
        weights: Tensor | None,
        sentences: Sentences,
        options: CtrlOptions,
        checkpoint: Path,
        key: str,
        progress: ProgressCallback,
    ) -> None:
        self._aligner, self._encoder, self._options = aligner, encoder, options
        self._ids, self._weights, self._sentences = ids, weights, sentences
        self._checkpoint, self._key, self._progress = checkpoint, key, progress
        self._trained = aligner.trained
        self._optimizer = torch.optim.AdamW(
            self._trained.values(), lr=options.first_rate, weight_decay=options.weight_decay
        )
        self._size = options.batch_for(len(ids))
        self._steps = -(-len(ids) // self._size)  # of an epoch
        self._last = self._steps * options.epochs
        self._told = Progress(STAGE, 0.0, 0)

    def complete(self) -> Work:
        """Take the steps that are left.

        Raises:
            DataError: the loss is no longer a number.
            ArtifactError: the checkpoint is damaged.
        """
        work = self._loaded() or Work()
        self._tell(Progress(STAGE, work.step / self._last, work.step))
        began, before, first = time.monotonic(), work.seconds, work.step
        saved = began
        for batch in self._batches(work.step):
            self._step(work, batch)
            now = time.monotonic()
            work.seconds = before + now - began
            if now - saved >= SAVED_EVERY_S and work.step < self._last:
                self._save(work)
                saved = now
            eta = (now - began) / (work.step - first) * (self._last - work.step)
            done, in_epoch = work.step / self._last, (work.step - 1) % self._steps + 1
            loss = work.epoch_loss / in_epoch if work.step % self._steps else work.losses[-1]
            self._tell(Progress(STAGE, done, work.step, loss, eta))
        return work

    def _tell(self, progress: Progress) -> None:
        self._told = progress
        self._beat()

    def _beat(self) -> None:
        """A step may take minutes; whoever listens can end it within."""
        self._progress(self._told)

    def _batches(self, first: int) -> Iterator[npt.NDArray[np.int64]]:
        """The rows of each step from step `first` on; the order of an epoch follows from its number and the seed."""
        for epoch in range(first // self._steps, self._options.epochs):
            order = np.random.default_rng((self._options.seed, epoch)).permutation(len(self._ids))
            begin = first % self._steps if epoch == first // self._steps else 0
            yield from np.array_split(order, self._steps)[begin:]  # none much smaller than the others

    def _step(self, work: Work, rows: npt.NDArray[np.int64]) -> None:
        for group in self._optimizer.param_groups:
            group["lr"] = self._rate(work.step)
        self._optimizer.zero_grad(set_to_none=True)
        torch.manual_seed(int(np.random.SeedSequence((self._options.seed, work.step)).generate_state(1)[0]))  # dropout
        sentences = Distinct.of(self._encoder, self._sentences.of(rows))
        which, device = torch.from_numpy(rows), self._encoder.device
        weights = None if self._weights is None else self._weights[which].to(device)
        loss = self._aligner.backward(self._ids[which].to(device), weights, sentences, self._beat)
        if not np.isfinite(loss):
            raise DataError("the loss of the alignment is no longer a number; lower ctrl.learning_rate")
        self._optimizer.step()
        work.step += 1
        work.sentences += len(sentences.tokens)
        work.tokens += sum(map(len, sentences.tokens))
        work.epoch_loss += loss
        if work.step % self._steps == 0:
            work.losses.append(work.epoch_loss / self._steps)
            work.epoch_loss = 0.0

    def _rate(self, step: int) -> float:
        options = self._options
        risen = min(1.0, step / max(1.0, options.warm_up * self._last))
        return options.first_rate + risen * (options.learning_rate - options.first_rate)

    def _save(self, work: Work) -> None:
        tensors = {f"weight|{name}": value.detach() for name, value in self._trained.items()}
        for name, value in self._trained.items():
            tensors |= {f"{part}|{name}": slot for part, slot in self._optimizer.state[value].items()}
        metadata = {"key": self._key, "work": json.dumps(asdict(work))}
        with replacing(self._checkpoint) as beside:
            save_file({name: value.cpu().contiguous() for name, value in tensors.items()}, beside, metadata)

    @torch.no_grad()
    def _loaded(self) -> Work | None:
        """The saved state, put into the models and the optimizer; None without one of this run."""
        if not self._checkpoint.exists():
            return None
        try:
            with safe_open(self._checkpoint, "pt") as file:
                metadata = file.metadata() or {}
                if metadata.get("key") != self._key:
                    return None
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except SafetensorError as error:
            told = f"the checkpoint {self._checkpoint} is damaged ({error}); delete it to align anew"
            raise ArtifactError(told) from error
        for name, value in self._trained.items():
            value.copy_(tensors[f"weight|{name}"])
            slots = {part: tensors.get(f"{part}|{name}") for part in ("step", "exp_avg", "exp_avg_sq")}
            moved = {p: t if p == "step" else t.to(value.device) for p, t in slots.items() if t is not None}
            if moved:  # what no gradient reaches has none
                self._optimizer.state[value] = moved
        return Work(**json.loads(metadata["work"]))
