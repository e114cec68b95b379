"""Runs of the load generator against several servers in turn, and rows made of them."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from benchmarks.bench.rows import Row
from benchmarks.scoring.servers import JSON, Measured, Server

MANY = 32  # connections that send one-row requests


@dataclass(frozen=True)
class Side:
    """A server, what it is sent, and over how many connections."""

    server: Server
    bodies: Path
    connections: int
    media: str = JSON


def in_turn(sides: Sequence[Side], seconds: float, repeats: int) -> list[list[Measured]]:
    """The runs of every side; one of each, then again."""
    rounds = [
        [side.server.load(side.bodies, side.connections, seconds, side.media) for side in sides] for _ in range(repeats)
    ]
    return [list(runs) for runs in zip(*rounds, strict=True)]


def median_cpu_us(runs: Sequence[Measured]) -> float:
    """Microseconds of processor time for a request."""
    return statistics.median(run.cpu_us for run in runs)


def row_of(
    name: str,
    values: Sequence[float],
    unit: str,
    op: Literal["<=", ">="],
    reach: float | None,
    runs: Sequence[Measured] | None = None,
    *,
    peer: str | None = None,
    note: str = "",
) -> Row:
    """A median with its spread; `runs` add what a request took."""
    if runs is not None:
        note = f"{median_cpu_us(runs):.0f} us CPU a request; {note}"
    cpu_s = None if runs is None else statistics.median(run.cpu_s for run in runs)
    return Row(name, statistics.median(values), unit, op, reach, peer, note, (min(values), max(values)), cpu_s)
