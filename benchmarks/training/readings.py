"""Measurements of training, each in a process of its own, so that nothing of an earlier one is left in memory."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.training.dataset import prepare
from benchmarks.training.peer_env import cache_folder, fuxictr_python

FUXI = Path(__file__).parent / "fuxi" / "run.py"
WIDTH, BATCH, THREADS = 32, 4096, 2

Reading = dict[str, float]


def ids_of(datasets: Path) -> Path:
    """The encoded ml1m, kept between runs."""
    return prepare(datasets / "ml1m", cache_folder())


def read_ours(
    path: Path,
    name: str,
    *,
    steps: int | None = None,
    rows: int | None = None,
    precision: str = "fp32",
    enhancer: str = "none",
    seed: int = 2026,
    batch: int = BATCH,
    dense: bool = False,
) -> Reading:
    """Some steps of a backbone, or an epoch of the first `rows` (of all) and its AUC (benchmarks.training.ours)."""
    options = {"backbone": name, "enhancer": enhancer, "width": WIDTH, "batch_size": batch, "seed": seed}
    command = [str(path), json.dumps({**options, "precision": precision}), "--threads", str(THREADS)]
    for flag, value in (("--steps", steps), ("--rows", rows)):
        command += [] if value is None else [flag, str(value)]
    return _child([sys.executable, "-m", "benchmarks.training.ours", *command, *(["--dense"] if dense else [])])


def read_enhanced(path: Path, name: str, rounds: int) -> float:
    """How many times a plain step a step with LLaCTR takes, both in one process in turn."""
    options = {"backbone": name, "width": WIDTH, "batch_size": BATCH}
    command = [str(path), json.dumps(options), "--threads", str(THREADS), "--rounds", str(rounds)]
    return _child([sys.executable, "-m", "benchmarks.training.ours", *command])["ratio"]


def read_peer(path: Path, name: str, loader: str, steps: int) -> Reading:
    """Some steps of FuxiCTR's loop, with its own loader or with resident tensors."""
    command = [str(fuxictr_python()), str(FUXI), str(path), name, "--loader", loader]
    return _child([*command, "--steps", str(steps), "--threads", str(THREADS)])


def read_made(fields: int, vocabulary: int, width: int, steps: int) -> Reading:
    """Some steps of a DeepFM on random ids of a table of any size (benchmarks.training.big_table)."""
    sizes = ["--fields", str(fields), "--rows", str(vocabulary), "--width", str(width), "--steps", str(steps)]
    return _child([sys.executable, "-m", "benchmarks.training.big_table", *sizes, "--threads", str(THREADS)])


def in_turn(repeats: int, *sides: Callable[[], Reading]) -> list[list[Reading]]:
    """Every side's readings; one of each side, then again."""
    rounds = [[side() for side in sides] for _ in range(repeats)]
    return [list(readings) for readings in zip(*rounds, strict=True)]


def _child(command: list[str]) -> Reading:
    environment = {**os.environ, "OMP_NUM_THREADS": str(THREADS)}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    reading: Reading = json.loads(done.stdout.splitlines()[-1])
    return reading
