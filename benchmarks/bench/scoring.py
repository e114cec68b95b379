"""The bench's section on scoring: the real service and the peers' servers, one on one core, the load from the other."""

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from benchmarks.bench.load import read_bodies
from benchmarks.bench.peers.environment import serving_python
from benchmarks.bench.rows import Row, Series
from benchmarks.bench.servers import ARROW, Measured, Server, ours, peer
from benchmarks.bench.workload import Workload
from llactr_core.scorer import Scorer

HERE = Path(__file__).parent / "peers"
SECONDS, REPEATS, MANY = 3.0, 5, 32
SAME = 1e-5
PEERS = {
    "FastAPI + pydantic + eager torch": ("fastapi_server.py", "/predict", "/health"),
    "LitServe": ("litserve_server.py", "/predict", "/health"),
    "BentoML": ("bentoml_server.py", "/predict", "/readyz"),
}

Ask = Callable[[Server], Measured]


def quick(work: Workload) -> list[Row]:
    """JSON at 1, 100 and 1000 rows, and FastAPI; about two minutes."""
    with _service(work, "deepfm") as server:
        rows = [_latency(work, server), _single(work, server), _json(work, server, 100), _json(work, server, 1000)]
        name = next(iter(PEERS))
        return rows + _against(work, server, name, ((1, 3.5), (100, 2.5)))


def figures(work: Workload) -> list[Row]:
    """All figures on scoring; about eight minutes."""
    with _service(work, "deepfm") as server:
        rows = [_latency(work, server), _single(work, server), _json(work, server, 100), _json(work, server, 1000)]
        rows += [_arrow(work, server, "DeepFM", 200_000.0), *_start(server)]
        for name in PEERS:
            reach = ((1, 3.5), (100, 2.5)) if name.startswith("FastAPI") else ((1, 3.0), (100, 3.0))
            rows += _against(work, server, name, reach)
        rows += _cost_of_semantics(work, server)
    with _service(work, "wukong") as server:
        rows.append(_arrow(work, server, "WuKong", 45_000.0))
    return [*rows, *_two_workers(work), *_floor(work)]


def growth(work: Workload) -> list[Series]:
    """How the time of a request grows with its rows; about a minute."""
    points = []
    with _service(work, "deepfm") as server:
        for rows in (1, 100, 1000):
            points.append((float(rows), _median([server.load(work.json_bodies(rows), 1, SECONDS) for _ in range(3)])))
    return [Series("Scoring against rows", "rows in a request", "CPU us a row", tuple((n, v / n) for n, v in points))]


def _latency(work: Workload, server: Server) -> Row:
    runs = _repeat(lambda: server.load(work.json_bodies(1), 1, SECONDS))
    return _row("one row, p50 at concurrency 1", [run.p50_us for run in runs], "us", "<=", 200.0, runs)


def _single(work: Workload, server: Server) -> Row:
    runs = _repeat(lambda: server.load(work.json_bodies(1), MANY, SECONDS))
    return _row("one-row requests", [run.per_s for run in runs], "requests/s", ">=", 12_000.0, runs)


def _json(work: Workload, server: Server, rows: int) -> Row:
    runs = _repeat(lambda: server.load(work.json_bodies(rows), 4, SECONDS))
    reach = 180_000.0 if rows == 100 else 150_000.0
    return _row(f"JSON, {rows} rows a request", [run.per_s * rows for run in runs], "rows/s", ">=", reach, runs)


def _arrow(work: Workload, server: Server, model: str, reach: float) -> Row:
    runs = _repeat(lambda: server.load(work.arrow_bodies(1000), 4, SECONDS, ARROW))
    name = f"Arrow, 1000 rows a request, {model}"
    return _row(name, [run.per_s * 1000 for run in runs], "rows/s", ">=", reach, runs)


def _against(work: Workload, server: Server, name: str, wanted: Sequence[tuple[int, float]]) -> list[Row]:
    """CPU time per row of a peer over ours, over all processes of each server, taken in turn."""
    script, path, ready = PEERS[name]
    rows = []
    with peer(serving_python(), HERE / script, work.bundle(), path, ready) as other:
        _check_scores(work, server, other, name)
        for count, reach in wanted:
            many = MANY if count == 1 else 4
            pairs = []
            for _ in range(REPEATS):
                bodies = work.json_bodies(count)
                pairs.append((server.load(bodies, many, SECONDS), other.load(bodies, many, SECONDS)))
            ratios = [theirs.cpu_us / mine.cpu_us for mine, theirs in pairs]
            wall = statistics.median(mine.per_s / theirs.per_s for mine, theirs in pairs)
            note = f"CPU time a row, equal scores; by wall time {wall:.1f}x"
            rows.append(_row(f"{count} rows a request, against {name}", ratios, "x", ">=", reach, None, name, note))
    return rows


def _check_scores(work: Workload, server: Server, other: Server, name: str) -> None:
    for body in read_bodies(work.json_bodies(100))[:5]:
        apart = float(np.abs(np.array(server.scores(body)) - np.array(other.scores(body))).max())
        if apart > SAME:
            raise ValueError(f"{name} scores {apart:.1e} away from ours")


def _cost_of_semantics(work: Workload, server: Server) -> list[Row]:
    with ours(work.bundle("deepfm", "none"), work.folder / "home-plain") as plain:
        ratios = []
        for _ in range(REPEATS):
            pair = [one.load(work.json_bodies(100), 4, SECONDS).cpu_us for one in (server, plain)]
            ratios.append(100 * (pair[0] / pair[1] - 1))
    return [_row("FRE + FIE against the plain backbone, 100 rows", ratios, "% CPU", "<=", 3.0)]


def _two_workers(work: Workload) -> list[Row]:
    costs = []
    for workers in (1, 2):
        with ours(work.bundle(), work.folder / f"home-{workers}", workers) as server:
            costs.append([server.load(work.json_bodies(1), MANY, SECONDS).cpu_us for _ in range(REPEATS)])
    ratios = [100 * (two / one - 1) for one, two in zip(*costs, strict=True)]
    note = "both on one core: what is shared would show, and not what a second core gives"
    return [_row("two workers against one, CPU a request", ratios, "% CPU", "<=", 5.0, note=note)]


def _start(server: Server) -> list[Row]:
    memory = server.memory_mb()
    note = f"{memory['resident']:.0f} MB with the {memory['files']:.0f} MB that are mapped from files"
    return [
        Row(
            "ready after start", server.ready_s, "s", "<=", 2.0, note="the bundle has 240 MB; one start, on both cores"
        ),
        Row("memory beyond mapped files", memory["resident"] - memory["files"], "MB", "<=", 300.0, note=note),
    ]


def _floor(work: Workload) -> list[Row]:
    """What the model alone takes in this process: the graph on ready arrays, and its largest product."""
    scorer = Scorer.load(work.bundle())
    encoded = scorer.encode(work.rows(1000, seed=1))
    x, w = np.random.default_rng(0).random((2, 256, 300)).astype(np.float32), np.ones((300, 300), np.float32)
    logits = [_timed(lambda: scorer.logits_of(encoded)) for _ in range(50)]
    product = [_timed(lambda: x[0] @ w) for _ in range(500)]
    return [
        Row("floor: the model on ready ids, 1000 rows", 1000 / min(logits), "rows/s", ">=", note="best of 50"),
        Row("floor: matrix products", 2 * 256 * 300 * 300 / min(product) / 1e9, "GFLOPS", ">=", note="numpy, one core"),
    ]


@contextmanager
def _service(work: Workload, backbone: str) -> Iterator[Server]:
    with ours(work.bundle(backbone), work.folder / f"home-{backbone}") as server:
        server.load(work.json_bodies(1), 4, 1.0)  # so that no figure has a first time in it
        yield server


def _repeat(ask: Callable[[], Measured]) -> list[Measured]:
    return [ask() for _ in range(REPEATS)]


def _median(runs: list[Measured]) -> float:
    return statistics.median(run.cpu_us for run in runs)


def _row(
    name: str,
    values: Sequence[float],
    unit: str,
    op: str,
    reach: float,
    runs: list[Measured] | None = None,
    peer_name: str | None = None,
    note: str = "",
) -> Row:
    if runs is not None:
        note = f"{_median(runs):.0f} us CPU a request"
    cpu_s = None if runs is None else statistics.median(run.cpu_s for run in runs)
    spread = (min(values), max(values))
    return Row(name, statistics.median(values), unit, op, reach, peer_name, note, spread, cpu_s)  # type: ignore[arg-type]


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
