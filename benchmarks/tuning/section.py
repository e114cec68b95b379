"""The bench's section on tuning: rows and curves, each measured in a process of its own with one thread.

Times are CPU seconds of that one thread: they hardly move when the machine does other work. Nothing here needs a GPU,
and nothing here says how fast one would be.
"""

import statistics
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import ParamSpec, TypeVar

import torch
from transformers.utils import logging

from benchmarks.bench.effort import TuningEffort
from benchmarks.bench.rows import Row, Series
from benchmarks.tuning.curves import measure_growth
from benchmarks.tuning.preparation import Preparation, measure_preparation
from benchmarks.tuning.steps import Steps, measure_steps

NOISE = 0.03  # three of ml1m's 109 held-out values

_P = ParamSpec("_P")
_T = TypeVar("_T")


def ssft_step(datasets: Path, effort: TuningEffort) -> list[Row]:
    """A step of SSFT against the plain loops, with equal losses and an equal result; about 6 minutes."""
    return step_rows(_in_child(measure_steps, datasets, effort))


def preparation(datasets: Path, effort: TuningEffort) -> list[Row]:
    """Tuning and embedding of ml1m against CTRL's reading of every row; about 2 minutes."""
    return preparation_rows(_in_child(measure_preparation, datasets, effort))


def growth(datasets: Path, effort: TuningEffort) -> list[Series]:
    """How both grow with rows, fields and sam_num; about 3 minutes."""
    return _in_child(measure_growth, datasets, effort)


def step_rows(steps: Steps) -> list[Row]:
    """The rows of `ssft_step` from what was measured."""
    rows = [
        Row(
            name=f"SSFT step, against {steps.meaning[arm]}",
            value=statistics.median(ratios),
            unit="x",
            op=">=",
            reach=2.0 if "bf16" not in arm else None,
            peer=arm,
            note="CPU time, by epoch; one thread, the steps taken in turn; ours in bfloat16",
            spread=(min(ratios), max(ratios)),
        )
        for arm, ratios in steps.ratios.items()
    ]
    for arm, seconds in steps.cpu.items():
        wall = statistics.median(steps.wall[arm])
        note = f"wall time; {steps.tokens_per_step:.0f} tokens of prompts drawn a step"
        milliseconds = [1000 * second for second in steps.wall[arm]]
        spread = (min(milliseconds), max(milliseconds))
        cpu_s = statistics.median(seconds)
        rows.append(Row(f"SSFT step, {arm}", 1000 * wall, "ms", "<=", None, None, note, spread, cpu_s))
    rate = steps.tokens_per_step / statistics.median(steps.cpu["ours"])
    note = f"the matrix products alone would allow {steps.tokens_per_step / steps.floor_s:.0f}, measured in this run"
    rows.append(Row("SSFT, tokens of prompts per CPU second", rate, "tokens/s", ">=", None, None, note))
    note = f"{steps.compared} steps on the same batches, both in float32"
    rows.append(
        Row(
            "SSFT loss against the plain loop's, largest difference of a step",
            steps.loss_difference,
            "relative",
            "<=",
            1e-3,
            "plain",
            note,
        )
    )
    rows.append(_accuracy_row(steps))
    rows.append(
        Row(
            name="SSFT step of a causal model, against reading the common beginning in every prompt",
            value=statistics.median(steps.prefix),
            unit="x",
            op=">=",
            reach=None,
            peer=None,
            note="CPU time, by batch; a Llama of 6 layers, 512 wide, random weights; bidirectional models share none",
            spread=(min(steps.prefix), max(steps.prefix)),
        )
    )
    return rows


def preparation_rows(found: Preparation) -> list[Row]:
    """The rows of `preparation` from what was measured."""
    ours = statistics.median(found.ours_s)
    formula = (
        f"{found.rows:,} rows x {{:.2f}} ms, measured on {found.slice} rows and extrapolated, over {ours:.1f} s, "
        "measured in full; CPU time in the language model, ours with judging the held-out values"
    )
    rows = []
    ways = (("trained on", found.ctrl.train_s, 100.0), ("read once, without training,", found.ctrl.forward_s, None))
    for way, per_row, reach in ways:
        spread = (found.rows * per_row / max(found.ours_s), found.rows * per_row / min(found.ours_s))
        rows.append(
            Row(
                name=f"LLaCTR's preparation of ml1m, against CTRL's: one sentence per row {way} by the same model",
                value=found.rows * per_row / ours,
                unit="x",
                op=">=",
                reach=reach,
                peer="CTRL",
                note=formula.format(1000 * per_row),
                spread=spread,
            )
        )
    rows.append(
        Row(
            "LLaCTR's preparation of ml1m: tune and embed",
            ours,
            "CPU s",
            "<=",
            None,
            None,
            f"{found.steps} steps",
            None,
            ours,
        )
    )
    note = f"{found.ctrl.tokens:.0f} tokens a sentence"
    rows.append(Row("CTRL's preparation, per row", 1000 * found.ctrl.train_s, "CPU ms", "<=", None, "CTRL", note))
    return rows


def _accuracy_row(steps: Steps) -> Row:
    differences = [ours - plain for ours, plain in zip(steps.accuracy["ours"], steps.accuracy["plain"], strict=True)]
    shown = "; ".join(
        f"{arm}: {', '.join(f'{value:.3f}' for value in steps.accuracy[arm])}" for arm in ("ours", "plain")
    )
    return Row(
        name="SSFT held-out field accuracy after the last epoch, ours in bfloat16 minus plain in float32",
        value=statistics.mean(differences),
        unit="accuracy",
        op=">=",
        reach=-NOISE,
        peer="plain",
        note=f"seeds {', '.join(map(str, steps.seeds))}: {shown}; the plain loop's batches are not sorted by length",
        spread=(min(differences), max(differences)),
    )


def _in_child(work: Callable[_P, _T], *arguments: _P.args, **named: _P.kwargs) -> _T:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=_one_thread) as pool:
        return pool.submit(work, *arguments, **named).result()


def _one_thread() -> None:
    torch.set_num_threads(1)
    logging.disable_progress_bar()
