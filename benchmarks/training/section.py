"""The bench's section on training: ours and FuxiCTR's in turn, and what LLaCTR, bf16 and a large table cost."""

import statistics
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Literal

import torch

from benchmarks.bench.effort import TrainingEffort
from benchmarks.bench.rows import Row
from benchmarks.training.dataset import load
from benchmarks.training.exact import difference
from benchmarks.training.floor import floor, products_of
from benchmarks.training.ours import build
from benchmarks.training.readings import (
    BATCH,
    THREADS,
    WIDTH,
    Reading,
    ids_of,
    in_turn,
    read_enhanced,
    read_made,
    read_ours,
    read_peer,
)
from llactr_core.training.options import TrainOptions

PEER = "FuxiCTR 2.3.10"
COMPARED = 12  # steps beside dense Adam, in double precision
SAME_SCORES = 1e-5
SAME_AUC = 0.0005
LARGE_WIDTH = 16


def deepfm(datasets: Path, effort: TrainingEffort) -> list[Row]:
    """DeepFM against FuxiCTR; about 90 seconds once FuxiCTR's environment is there."""
    path = ids_of(datasets)
    ours, peer = in_turn(
        effort.repeats,
        partial(read_ours, path, "deepfm", steps=effort.steps),
        partial(read_peer, path, "deepfm", "own", effort.peer_steps),
    )
    return [_against_peer(path, "deepfm", ours, peer, "")]


def precision(datasets: Path, effort: TrainingEffort) -> list[Row]:
    """DeepFM in bf16, the AUC of all ways over the seeds, and a table of 50 million rows (11 GiB); about 5 minutes."""
    path = ids_of(datasets)
    rounded, peer = in_turn(
        effort.repeats,
        partial(read_ours, path, "deepfm", steps=effort.steps, precision="bf16"),
        partial(read_peer, path, "deepfm", "own", effort.peer_steps),
    )
    fp32, bf16 = _auc_changes(path, effort)
    note = f"bf16 rounds the inputs of matrix products; mean change of AUC {statistics.mean(bf16):+.5f}"
    return [
        _row("deepfm in bf16, training step against FuxiCTR's fp32", _ratios(rounded, peer), 4.5, PEER, note, rounded),
        _auc_row("fp32", fp32),
        _auc_row("bf16", bf16),
        *_large_table(effort, statistics.mean(fp32)),
    ]


def backbone(name: str, datasets: Path, effort: TrainingEffort) -> list[Row]:
    """One against FuxiCTR, with LLaCTR, and FinalMLP and WuKong against their matrix products; 1 to 2 minutes."""
    path = ids_of(datasets)
    ours, peer = in_turn(
        effort.repeats,
        partial(read_ours, path, name, steps=effort.steps),
        partial(read_peer, path, name, "own", effort.peer_steps),
    )
    resident = read_peer(path, name, "resident", effort.peer_steps)
    inner = f"; {resident['ms'] / statistics.median(r['ms'] for r in ours):.2f}x with resident tensors on both sides"
    rows = [_against_peer(path, name, ours, peer, inner)]
    if name in ("finalmlp", "wukong"):
        rows.append(_share_of_floor(path, name, ours))
    ratios = [read_enhanced(path, name, effort.rounds) for _ in range(effort.repeats)]
    return [*rows, _cost_row(name, ratios, effort.rounds)]


def _against_peer(path: Path, name: str, ours: list[Reading], peer: list[Reading], also: str) -> Row:
    """A row on equal terms.

    Raises:
        ValueError: our optimizer is not dense Adam.
    """
    loss, scores = difference(load(path), _options(name), COMPARED)
    if max(loss, scores) > SAME_SCORES:
        raise ValueError(
            f"{name}: the table's Adam is {loss:.1e} (loss) and {scores:.1e} (scores) away from dense Adam"
        )
    note = (
        f"wall time of a step, its own loop and loader{also}; within {loss:.0e} (loss) and {scores:.0e} (scores) of "
        f"torch's dense Adam after {COMPARED} steps, in double precision"
    )
    return _row(f"{name} training step against FuxiCTR", _ratios(ours, peer), 2.2, PEER, note, ours)


def _cost_row(name: str, ratios: list[float], rounds: int) -> Row:
    return Row(
        name=f"{name} with LLaCTR, epoch against plain",
        value=statistics.median(ratios),
        unit="x",
        op="<=",
        reach=1.05,
        peer=None,
        note=f"wall time of a step, and as many steps are an epoch; both in one process in turn, {rounds} rounds a "
        "repeat; FRE and FIE at their default strengths",
        spread=(min(ratios), max(ratios)),
    )


def _share_of_floor(path: Path, name: str, ours: Sequence[Reading]) -> Row:
    torch.set_num_threads(THREADS)
    model = build(load(path), _options(name))
    v, w = torch.zeros(BATCH, model.embedding.fields, WIDTH), torch.zeros(BATCH, model.embedding.fields)
    least = floor(products_of(model.backbone, v, w), 10)
    shares = [100 * least / reading["ms"] for reading in ours]
    note = f"all matrix products alone, forwards and backwards, take {least:.1f} ms"
    return _row(f"{name} training step, share that is matrix products", shares, 80.0, None, note, ours, unit="%")


def _auc_changes(path: Path, effort: TrainingEffort) -> tuple[list[float], list[float]]:
    """Test AUC after an epoch in fp32 and in bf16, less that of torch's Adam on the dense gradient in fp32, by seed."""
    fp32, bf16 = [], []
    for seed in effort.seeds:
        epoch = partial(read_ours, path, "deepfm", rows=effort.epoch_rows, seed=seed)
        exact = epoch(dense=True)["auc"]
        fp32.append(epoch()["auc"] - exact)
        bf16.append(epoch(precision="bf16")["auc"] - exact)
    return fp32, bf16


def _auc_row(kind: str, changes: list[float]) -> Row:
    return Row(
        name=f"deepfm in {kind}, mean change of AUC against torch's dense Adam in fp32",
        value=abs(statistics.mean(changes)),
        unit="AUC",
        op="<=",
        reach=SAME_AUC,
        peer="torch.optim.Adam",
        note=f"test AUC after an epoch, by seed: {', '.join(f'{change:+.5f}' for change in changes)}",
        spread=(min(changes), max(changes)),
    )


def _large_table(effort: TrainingEffort, change: float) -> list[Row]:
    reading = read_made(8, effort.large, LARGE_WIDTH, effort.large_steps)
    note = (
        f"{effort.large:,} x {LARGE_WIDTH} and a first-order weight, DeepFM, batch {BATCH}; the optimizer is that of "
        f"the row on fp32, whose AUC is {change:+.5f} from dense Adam's"
    )
    name = f"table of {effort.large / 1e6:.0f}M x {LARGE_WIDTH}"
    return [
        Row(f"{name}, peak memory", reading["peak_gib"], "GiB", "<=", 20.0, None, note),
        Row(f"{name}, training step", reading["ms"], "ms", "<=", None, None, note),
    ]


def _options(name: str) -> TrainOptions:
    return TrainOptions(backbone=name, enhancer="none", width=WIDTH, batch_size=BATCH)


def _row(
    name: str,
    values: list[float],
    reach: float,
    peer: str | None,
    note: str,
    ours: Sequence[Reading],
    *,
    unit: str = "x",
    op: Literal["<=", ">="] = ">=",
) -> Row:
    cpu = statistics.median(reading["cpu_ms"] for reading in ours) / 1e3
    spread = (min(values), max(values))
    return Row(name, statistics.median(values), unit, op, reach, peer, note, spread, cpu)


def _ratios(ours: Sequence[Reading], other: Sequence[Reading]) -> list[float]:
    return [theirs["ms"] / mine["ms"] for mine, theirs in zip(ours, other, strict=True)]
