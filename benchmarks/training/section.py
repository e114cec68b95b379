"""The bench's section on training: ours and FuxiCTR's in turn, each measurement in a process of its own."""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from benchmarks.bench.rows import Row, Series
from benchmarks.training.dataset import load, prepare
from benchmarks.training.exact import difference
from benchmarks.training.floor import floor, products_of
from benchmarks.training.ours import build
from benchmarks.training.peer_env import cache_folder, fuxictr_python
from llactr_core.models.registry import BACKBONES
from llactr_core.training.options import TrainOptions

FUXI = Path(__file__).parent / "fuxi" / "run.py"
WIDTH, BATCH, REPEATS, THREADS = 32, 4096, 3, 2
STEPS, PEER_STEPS, GROWTH_STEPS = 100, 25, 30  # that are timed
COMPARED = 12  # steps beside dense Adam
SEEDS = (1, 2, 3)
SAME_LOSS = 1e-5
SAME_AUC = 0.0005

Reading = dict[str, float]


def deepfm(datasets: Path) -> list[Row]:
    """DeepFM against FuxiCTR; about 90 seconds once FuxiCTR's environment is there."""
    path = _ids(datasets)
    ours, peer = _in_turn(lambda: _ours(path, "deepfm"), lambda: _peer(path, "deepfm", "own"))
    return _against_peer(path, "deepfm", ours, peer, "")


def all_backbones(datasets: Path) -> list[Row]:
    """All six against FuxiCTR, and FinalMLP and WuKong against their matrix products; about 10 minutes."""
    return [row for name in BACKBONES for row in _backbone(datasets, name)]


def precision(datasets: Path) -> list[Row]:
    """DeepFM in bf16: its step against FuxiCTR's, and its AUC against fp32's over three seeds; about 4 minutes."""
    path = _ids(datasets)
    ours, peer = _in_turn(lambda: _ours(path, "deepfm", precision="bf16"), lambda: _peer(path, "deepfm", "own"))
    ratios = _ratios(ours, peer)
    changes = []
    for seed in SEEDS:
        exact, rounded = (_ours(path, "deepfm", steps=None, precision=kind, seed=seed) for kind in ("fp32", "bf16"))
        changes.append(rounded["auc"] - exact["auc"])
    note = f"test AUC after an epoch, bf16 less fp32, by seed: {', '.join(f'{change:+.5f}' for change in changes)}"
    return [
        _row("DeepFM in bf16, step against FuxiCTR's fp32", ratios, 4.5, "FuxiCTR 2.3.10", note, ours),
        Row(
            "DeepFM in bf16, mean change of AUC",
            abs(statistics.mean(changes)),
            "AUC",
            "<=",
            SAME_AUC,
            None,
            note,
            spread=(min(changes), max(changes)),
            cpu_s=None,
        ),
    ]


def enhancer_cost(datasets: Path) -> list[Row]:
    """What FRE and FIE add to an epoch of each backbone; about 8 minutes."""
    path = _ids(datasets)
    rows = []
    for name in BACKBONES:
        plain, enhanced = _in_turn(lambda: _ours(path, name), lambda: _ours(path, name, enhancer="llactr"))  # noqa: B023
        rows.append(_cost(f"{name} with LLaCTR, epoch against plain", _ratios(plain, enhanced), enhanced))
    return rows


def big_table() -> list[Row]:
    """A table of 50 million embeddings; about 2 minutes and 11 GiB of memory."""
    reading = _child([sys.executable, "-m", "benchmarks.training.big_table", "--threads", str(THREADS)])
    note = (
        "50,000,000 x 16 and a first-order weight, DeepFM, batch 4096; exact dense Adam, so the change of AUC is none"
    )
    return [
        Row("table of 50M x 16, peak memory", reading["peak_gib"], "GiB", "<=", 20.0, None, note, None, None),
        Row("table of 50M x 16, step", reading["ms"], "ms", "<=", None, None, note, None, None),
    ]


def growth(datasets: Path) -> list[Series]:
    """Milliseconds a step of DeepFM against batch, vocabulary and fields; about 5 minutes."""
    path = _ids(datasets)
    steps = {256: 100, 1024: 100, 4096: 40, 16384: 20, 65536: 4}
    batches = tuple((float(b), _ours(path, "deepfm", steps=n, batch=b)["ms"]) for b, n in steps.items())
    tables = tuple((float(size), _made(fields=8, vocabulary=size)["ms"]) for size in (10**4, 10**5, 10**6, 10**7))
    fields = tuple((float(count), _made(fields=count, vocabulary=10**5)["ms"]) for count in (8, 16, 32, 64))
    return [
        Series(
            "DeepFM step, by batch", "rows a step", "ms", batches, "bends where a step's fixed cost no longer counts"
        ),
        Series(
            "DeepFM step, by vocabulary", "ids of all fields", "ms", tables, "bends where the table leaves the cache"
        ),
        Series(
            "DeepFM step, by fields", "fields", "ms", fields, "the first layer and the look-up grow with the fields"
        ),
    ]


def _backbone(datasets: Path, name: str) -> list[Row]:
    path = _ids(datasets)
    ours, peer, resident = _in_turn(
        lambda: _ours(path, name), lambda: _peer(path, name, "own"), lambda: _peer(path, name, "resident")
    )
    inner = f"; {statistics.median(_ratios(ours, resident)):.2f}x with resident tensors on both sides"
    rows = _against_peer(path, name, ours, peer, inner)
    if name not in ("fm", "fwfm", "fmfm"):
        rows.append(_share_of_floor(path, name, ours))
    return rows


def _against_peer(path: Path, name: str, ours: list[Reading], peer: list[Reading], also: str) -> list[Row]:
    loss, scores = difference(load(path), _options(name), COMPARED)
    if max(loss, scores) > SAME_LOSS:
        raise ValueError(
            f"{name}: the table's Adam is {loss:.1e} (loss) and {scores:.1e} (scores) away from dense Adam"
        )
    note = (
        f"wall time of a step, its own loop and loader{also}; within {loss:.0e} (loss) and {scores:.0e} (scores) of "
        f"torch's dense Adam after {COMPARED} steps, in double precision"
    )
    return [_row(f"{name} training step against FuxiCTR", _ratios(ours, peer), 2.2, "FuxiCTR 2.3.10", note, ours)]


def _share_of_floor(path: Path, name: str, ours: Sequence[Reading]) -> Row:
    torch.set_num_threads(THREADS)
    model = build(load(path), _options(name))
    v, w = torch.zeros(BATCH, model.embedding.fields, WIDTH), torch.zeros(BATCH, model.embedding.fields)
    least = floor(products_of(model.backbone, v, w), 10)
    shares = [100 * least / reading["ms"] for reading in ours]
    note = f"the products of the linear layers alone, forwards and backwards, take {least:.1f} ms"
    return _row(f"{name} training step, share that is matrix products", shares, 80.0, None, note, ours, unit="%")


def _row(
    name: str, values: list[float], reach: float, peer: str | None, note: str, ours: Sequence[Reading], unit: str = "x"
) -> Row:
    cpu = statistics.median(reading["cpu_ms"] for reading in ours) / 1e3
    return Row(name, statistics.median(values), unit, ">=", reach, peer, note, (min(values), max(values)), cpu)


def _cost(name: str, values: list[float], ours: Sequence[Reading]) -> Row:
    cpu = statistics.median(reading["cpu_ms"] for reading in ours) / 1e3
    note = "wall time of a step, FRE and FIE at their default strengths"
    return Row(name, statistics.median(values), "x", "<=", 1.05, None, note, (min(values), max(values)), cpu)


def _ratios(ours: Sequence[Reading], other: Sequence[Reading]) -> list[float]:
    return [theirs["ms"] / mine["ms"] for mine, theirs in zip(ours, other, strict=True)]


def _in_turn(*sides: Callable[[], Reading]) -> list[list[Reading]]:
    """Every side's readings; one of each side, then again."""
    rounds = [[side() for side in sides] for _ in range(REPEATS)]
    return [list(readings) for readings in zip(*rounds, strict=True)]


def _ids(datasets: Path) -> Path:
    return prepare(datasets / "ml1m", cache_folder())


def _options(name: str) -> TrainOptions:
    return TrainOptions(backbone=name, enhancer="none", width=WIDTH, batch_size=BATCH)


def _ours(
    path: Path,
    name: str,
    *,
    steps: int | None = STEPS,
    precision: str = "fp32",
    enhancer: str = "none",
    seed: int = 2026,
    batch: int = BATCH,
) -> Reading:
    options = {"backbone": name, "enhancer": enhancer, "width": WIDTH, "batch_size": batch, "seed": seed}
    command = [
        sys.executable,
        "-m",
        "benchmarks.training.ours",
        str(path),
        json.dumps({**options, "precision": precision}),
    ]
    return _child([*command, *([] if steps is None else ["--steps", str(steps)]), "--threads", str(THREADS)])


def _made(fields: int, vocabulary: int) -> Reading:
    sizes = ["--fields", str(fields), "--rows", str(vocabulary), "--width", str(WIDTH)]
    command = [sys.executable, "-m", "benchmarks.training.big_table", *sizes, "--steps", str(GROWTH_STEPS)]
    return _child([*command, "--threads", str(THREADS)])


def _peer(path: Path, name: str, loader: str) -> Reading:
    command = [str(fuxictr_python()), str(FUXI), str(path), name, "--loader", loader]
    return _child([*command, "--steps", str(PEER_STEPS), "--threads", str(THREADS)])


def _child(command: list[str]) -> Reading:
    environment = {**os.environ, "OMP_NUM_THREADS": str(THREADS)}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    reading: Reading = json.loads(done.stdout.splitlines()[-1])
    return reading
