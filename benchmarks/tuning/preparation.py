"""The whole preparation: ours (tuning, then the fields' vectors) in full, CTRL's on a slice of its rows."""

import contextlib
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.bench.effort import TuningEffort
from benchmarks.tuning.ctrl import RowCost, ml1m_sentences, row_cost
from benchmarks.tuning.subject import Subject, ml1m
from llactr_core.progress import Progress, silent
from llactr_core.semantics.options import SsftOptions
from llactr_core.semantics.tuning.ssft import tune


class _Enough(Exception):
    """Ends a tuning of which a slice was wanted."""


@dataclass(frozen=True)
class Cost:
    """CPU seconds of tuning, judging and embedding, without loading the model; steps of the tuning."""

    cpu_s: float
    steps: int


@dataclass(frozen=True)
class Preparation:
    """CPU seconds of ours, one entry per repeat, with its steps; CTRL's cost per row, and the rows of train."""

    ours_s: list[float]
    steps: int
    ctrl: RowCost
    rows: int
    slice: int


def measure_preparation(datasets: Path, effort: TuningEffort) -> Preparation:
    """Ours and CTRL's in turn, with the default options."""
    options = SsftOptions(sam_num=effort.sam_num, device="cpu")
    subject = ml1m(datasets, options)
    sentences, total = ml1m_sentences(datasets, effort.read)
    ours, ctrl = [], []
    for _ in range(effort.repeats):
        ours.append(full_cost(subject, options))
        ctrl.append(row_cost(sentences))
    cheapest = min(ctrl, key=lambda cost: cost.train_s)
    return Preparation([cost.cpu_s for cost in ours], ours[0].steps, cheapest, total, effort.read)


def full_cost(subject: Subject, options: SsftOptions) -> Cost:
    """Tune and embed."""
    encoder, work = subject.load(options)
    began = time.process_time()
    tune(encoder, subject.schema, subject.samples, options, silent)
    encoder.embed_tokens(work.task.fields)
    return Cost(time.process_time() - began, options.epochs * len(work.batches(options, 0)))


def step_cost(subject: Subject, options: SsftOptions, steps: int) -> float:
    """CPU seconds of a step, the mean of `steps` after the first."""
    encoder, _ = subject.load(options)
    times: list[float] = []

    def count(progress: Progress) -> None:
        if progress.loss is not None:
            times.append(time.process_time())
        if len(times) > steps:
            raise _Enough

    with contextlib.suppress(_Enough):
        tune(encoder, subject.schema, subject.samples, options, count)
    return (times[-1] - times[0]) / (len(times) - 1)
