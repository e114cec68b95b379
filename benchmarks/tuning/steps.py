"""A step of SSFT against the plain loops: time, losses, and what is learnt."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn import functional

from benchmarks.bench.effort import TuningEffort
from benchmarks.tuning.causal import prefix_ratios
from benchmarks.tuning.race import ARMS, OURS, PLAIN, REFERENCE, run_race
from benchmarks.tuning.subject import Subject, ml1m
from llactr_core.semantics.options import SsftOptions

MEANING = {
    "plain": "the plain loop, fields once per step, float32",
    "reference": "the plain loop, fields once per micro-batch of 4 as the reference does, float32",
    "plain bf16": "the plain loop, fields once per step, bfloat16",
    "reference bf16": "the plain loop, fields once per micro-batch of 4 as the reference does, bfloat16",
}
_LAYERS, _WIDTH, _INNER = 6, 384, 1536  # MiniLM


@dataclass(frozen=True)
class Steps:
    """Per arm: ratios to ours and seconds of a step, by epoch and seed; accuracy by seed.

    `floor_s` are the matrix products of our step alone; `loss_difference` is relative, over `compared` steps; `prefix`
    is how many times as long a causal model's step takes that reads the beginning of every prompt, by batch.
    """

    seeds: tuple[int, ...]
    meaning: dict[str, str]
    ratios: dict[str, list[float]]
    cpu: dict[str, list[float]]
    wall: dict[str, list[float]]
    accuracy: dict[str, list[float]]
    tokens_per_step: float
    floor_s: float
    loss_difference: float
    compared: int
    prefix: list[float]


def measure_steps(datasets: Path, effort: TuningEffort) -> Steps:
    """Ours and the plain loop with every seed, the other arms for an epoch; then the losses in float32."""
    first = SsftOptions(seed=effort.seeds[0], sam_num=effort.sam_num, epochs=1, device="cpu")
    subject = ml1m(datasets, first)
    fast = first.model_copy(update={"precision": "bfloat16", "epochs": effort.epochs})
    each = [fast.model_copy(update={"seed": seed}) for seed in effort.seeds]
    races = [run_race(ml1m(datasets, options), options, (PLAIN,)) for options in each]
    short = fast.model_copy(update={"epochs": 1})
    timed = [*races, run_race(subject, short, tuple(arm for arm in ARMS if arm != PLAIN))]
    arms = (PLAIN, REFERENCE)
    curve = run_race(subject, first.model_copy(update={"precision": "float32"}), arms, same_batches=True)
    steps = len(races[0].losses[OURS])
    return Steps(
        seeds=effort.seeds,
        meaning=MEANING,
        ratios={arm: [ratio for race in timed if arm in race.cpu for ratio in race.ratios(arm)] for arm in ARMS},
        cpu={arm: _joined([race.cpu for race in timed], arm) for arm in (OURS, *ARMS)},
        wall={arm: _joined([race.wall for race in timed], arm) for arm in (OURS, *ARMS)},
        accuracy={arm: [race.accuracy[arm] for race in races] for arm in (OURS, PLAIN)},
        tokens_per_step=races[0].tokens / steps,
        floor_s=_floor(subject, first),
        loss_difference=max(_largest_difference(curve.losses[arm], curve.losses[OURS]) for arm in arms),
        compared=len(curve.losses[OURS]),
        prefix=prefix_ratios(subject, first, effort.prefix_steps),
    )


def _joined(tables: Sequence[dict[str, list[float]]], arm: str) -> list[float]:
    return [seconds for times in tables for seconds in times.get(arm, [])]


def _largest_difference(losses: Sequence[float], others: Sequence[float]) -> float:
    return max(abs(one / other - 1) for one, other in zip(losses, others, strict=True))


def _floor(subject: Subject, options: SsftOptions) -> float:
    """Seconds of the matrix products of MiniLM's layers for one step, forward and backward, in bfloat16."""
    _, work = subject.load(options)
    batches = work.batches(options, 0)
    lengths = [[len(work.train_rows[i]) for i in set(batch)] for batch in batches]
    prompts = sum(len(batch) * max(batch) for batch in lengths) // len(batches)
    fields = len(work.task.fields) * max(map(len, work.task.fields))
    return sum(_products(tokens) for tokens in (prompts, fields))


def _products(tokens: int) -> float:
    total = 0.0
    for wide, narrow, count in ((_WIDTH, _WIDTH, 4), (_WIDTH, _INNER, 1), (_INNER, _WIDTH, 1)):
        inputs, weights = torch.randn(tokens, wide).bfloat16(), torch.randn(narrow, wide).bfloat16()
        gradients = torch.randn(tokens, narrow).bfloat16()
        times = []
        for _ in range(20):
            began = time.process_time()
            functional.linear(inputs, weights)
            torch.mm(gradients, weights)
            times.append(time.process_time() - began)
        total += count * min(times)
    return _LAYERS * total
