"""Our tuning and plain loops in turn, step by step, in one process: times per epoch, and how well each learnt.

Ours is the product's `tune`; the plain loops take their steps in its progress callback, so that whatever else the
machine does falls on all of them alike.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.tuning.plain import PlainLoop
from benchmarks.tuning.subject import Subject
from llactr_core.progress import Progress
from llactr_core.semantics.options import SsftOptions
from llactr_core.semantics.tuning.examples import epoch_order
from llactr_core.semantics.tuning.ssft import tune
from llactr_core.semantics.tuning.workload import Workload
from llactr_core.semantics.weights import DEFAULT_MODEL, resolve_model

OURS = "ours"
PLAIN = "plain"
REFERENCE = "reference"
PLAIN_BFLOAT16 = "plain bf16"
REFERENCE_BFLOAT16 = "reference bf16"
# The reference's micro-batches hold 4 prompts, padded to a multiple of 8.
ARMS: Mapping[str, Mapping[str, Any]] = {
    PLAIN: {},
    REFERENCE: {"micro_batch": 4, "pad_to": 8},
    PLAIN_BFLOAT16: {"bfloat16": True},
    REFERENCE_BFLOAT16: {"micro_batch": 4, "pad_to": 8, "bfloat16": True},
}


@dataclass(frozen=True)
class Race:
    """Per arm: seconds of a step by epoch (CPU, wall), the losses of all steps, held-out accuracy after the last.

    The first step of each epoch is left out of the times: in ours it follows the judging of held-out values.
    """

    cpu: dict[str, list[float]]
    wall: dict[str, list[float]]
    losses: dict[str, list[float]]
    accuracy: dict[str, float]
    tokens: int

    def ratios(self, arm: str) -> list[float]:
        """How many times as much CPU time the arm takes for a step as ours, by epoch."""
        return [theirs / ours for theirs, ours in zip(self.cpu[arm], self.cpu[OURS], strict=True)]


def run_race(subject: Subject, options: SsftOptions, arms: tuple[str, ...], *, same_batches: bool = False) -> Race:
    """Tune with ours and every arm.

    With `same_batches` the arms take our batches, so that losses can be compared step by step; else they cut the
    same draws into batches as they come, as a plain loop does.
    """
    encoder, work = subject.load(options)
    batches = [
        b for e in range(options.epochs) for b in (work.batches if same_batches else _as_drawn(work))(options, e)
    ]
    texts, path = subject.texts(encoder, work, options), resolve_model(DEFAULT_MODEL)
    loops = {arm: PlainLoop(path, texts, options, len(batches), **ARMS[arm]) for arm in arms}
    clock = _Clock((OURS, *arms))

    def others(progress: Progress) -> None:
        if progress.step and progress.loss is not None:
            clock.stop(OURS, progress.loss)
            for arm, loop in loops.items():
                clock.start()
                clock.stop(arm, loop.step(batches[progress.step - 1]))
        clock.start()

    tuned = tune(encoder, subject.schema, subject.samples, options, others)
    judged = range(len(work.train), len(texts.prompts))
    accuracy = {arm: loop.accuracy(judged) for arm, loop in loops.items()}
    accuracy[OURS] = tuned.metrics["epochs"][-1]["held_out_accuracy"]
    steps = len(batches) // options.epochs
    return Race(
        *({arm: _by_epoch(times, steps) for arm, times in table.items()} for table in (clock.cpu, clock.wall)),
        losses=clock.losses,
        accuracy=accuracy,
        tokens=tuned.metrics["tokens"],
    )


class _Clock:
    """CPU and wall seconds of every step of every arm."""

    def __init__(self, arms: tuple[str, ...]) -> None:
        self.cpu: dict[str, list[float]] = {arm: [] for arm in arms}
        self.wall: dict[str, list[float]] = {arm: [] for arm in arms}
        self.losses: dict[str, list[float]] = {arm: [] for arm in arms}
        self.start()

    def start(self) -> None:
        self._cpu, self._wall = time.process_time(), time.perf_counter()

    def stop(self, arm: str, loss: float) -> None:
        self.cpu[arm].append(time.process_time() - self._cpu)
        self.wall[arm].append(time.perf_counter() - self._wall)
        self.losses[arm].append(loss)


def _as_drawn(work: Workload) -> Callable[[SsftOptions, int], list[list[int]]]:
    """The batches of an epoch as `Workload.batches` makes them, but not by length."""

    def batches(options: SsftOptions, epoch: int) -> list[list[int]]:
        sizes = [len(batch) for batch in work.batches(options, epoch)]
        drawn = max(len(work.train), 4 * options.batch_size)
        order = epoch_order(work.train, len(work.values), drawn, options.seed, epoch)
        return [list(part) for part in np.array_split(np.array(order), len(sizes))]

    return batches


def _by_epoch(times: list[float], steps: int) -> list[float]:
    """The mean over the steps of each epoch but its first."""
    return [float(np.mean(times[first + 1 : first + steps])) for first in range(0, len(times), steps)]
