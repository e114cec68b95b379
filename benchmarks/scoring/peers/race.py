"""Ours and a peer's server in turn: the same model, the same requests, equal scores."""

import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from benchmarks.bench.effort import ScoringEffort
from benchmarks.bench.rows import Row
from benchmarks.scoring.load import read_bodies
from benchmarks.scoring.peers.environment import serving_python, version_of
from benchmarks.scoring.readings import MANY, Side, in_turn, row_of
from benchmarks.scoring.servers import Server, peer
from benchmarks.scoring.workload import Workload

HERE = Path(__file__).parent
SAME = 1e-5
# The script, the paths of scoring and of readiness, and how many times ours is wanted to be ahead at 1 and at 100 rows.
PEERS = {
    "FastAPI + pydantic + eager torch": ("fastapi_server.py", "/predict", "/health", (3.5, 2.5)),
    "LitServe": ("litserve_server.py", "/predict", "/health", (3.0, 3.0)),
    "BentoML": ("bentoml_server.py", "/predict", "/readyz", (3.0, 3.0)),
}


def against(work: Workload, server: Server, name: str, effort: ScoringEffort) -> list[Row]:
    """CPU time per row of a peer over ours, over all processes of each server, taken in turn.

    Raises:
        ValueError: the peer scores otherwise.
    """
    script, path, ready, reach = PEERS[name]
    rows = []
    package = name.split()[0].lower()
    version = f"{package} {version_of(package)}"
    with peer(serving_python(), HERE / script, work.bundle(), path, ready) as other:
        bodies = read_bodies(work.json_bodies(100))[:5]
        apart = scores_equal(((server.scores(body), other.scores(body)) for body in bodies), name)
        for count, wanted in zip((1, 100), reach, strict=True):
            many, sent = MANY if count == 1 else 4, work.json_bodies(count)
            sides = [Side(server, sent, many), Side(other, sent, many)]
            pairs = list(zip(*in_turn(sides, effort.seconds, effort.repeats), strict=True))
            ratios = [theirs.cpu_us / mine.cpu_us for mine, theirs in pairs]
            wall = statistics.median(mine.per_s / theirs.per_s for mine, theirs in pairs)
            note = f"CPU time a row over all processes; scores within {apart:.0e}; by wall time {wall:.1f}x; {version}"
            what = "1 row" if count == 1 else f"{count} rows"
            rows.append(row_of(f"{what} a request, against {name}", ratios, "x", ">=", wanted, peer=name, note=note))
    return rows


def scores_equal(pairs: Iterable[tuple[Sequence[float], Sequence[float]]], name: str) -> float:
    """How far scores are apart.

    Raises:
        ValueError: by more than 1e-5.
    """
    apart = max(float(np.abs(np.array(ours) - np.array(theirs)).max()) for ours, theirs in pairs)
    if apart > SAME:
        raise ValueError(f"{name} scores {apart:.1e} away from ours; at most {SAME:.0e} is allowed")
    return apart
