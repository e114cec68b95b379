"""The bench's section on scoring: the real service and the peers' servers, on one core, the load from the other."""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import numpy as np
import pyarrow as pa

from benchmarks.bench.effort import ScoringEffort
from benchmarks.bench.rows import Row
from benchmarks.scoring.load import read_bodies
from benchmarks.scoring.peers.race import PEERS, against, scores_equal
from benchmarks.scoring.readings import MANY, Side, in_turn, row_of
from benchmarks.scoring.servers import ARROW, Server, ours
from benchmarks.scoring.workload import Workload
from llactr_core.scorer import Scorer

LATENCY, SINGLE, JSON_100, JSON_1000 = (
    "one row, p50 at concurrency 1",
    "one-row requests",
    "JSON, 100 rows a request",
    "JSON, 1000 rows a request",
)
TURNS, CALLS = 31, 50


def quick(work: Workload, effort: ScoringEffort) -> list[Row]:
    """JSON at 1, 100 and 1000 rows, and FastAPI; about three minutes."""
    with service(work) as server:
        return [*_json_rows(work, server, effort), *against(work, server, next(iter(PEERS)), effort)]


def own(work: Workload, effort: ScoringEffort) -> list[Row]:
    """What one worker does by itself; about two minutes."""
    with service(work) as server:
        rows = [*_json_rows(work, server, effort), _arrow(work, server, "DeepFM", 200_000.0, effort), *_memory(server)]
    return [*rows, *_floor(work)]


def wukong(work: Workload, effort: ScoringEffort) -> list[Row]:
    """Two callers: with more of them 1000 rows would wait for longer than the service lets any wait."""
    with service(work, "wukong") as server:
        return [_arrow(work, server, "WuKong", 45_000.0, effort, callers=2)]


def start(work: Workload, effort: ScoringEffort) -> list[Row]:
    """How soon it is ready, and what a second worker costs; about a minute."""
    return [_start(work, effort), *_two_workers(work, effort)]


def against_peer(name: str, work: Workload, effort: ScoringEffort) -> list[Row]:
    """One of `PEERS`; about a minute."""
    with service(work) as server:
        return against(work, server, name, effort)


def cost_of_semantics(work: Workload, effort: ScoringEffort) -> list[Row]:
    """FRE and FIE, by CPU time of the scorers in this process: what is around them is the same code; some seconds."""
    rows = work.rows(100, seed=2)
    scorers = [Scorer.load(work.bundle("deepfm", enhancer)) for enhancer in ("llactr", "none")]
    costs = []
    for _ in range(TURNS):
        mine, without = (_cpu_s(partial(_logits, scorer, rows)) for scorer in scorers)
        costs.append(100 * (mine / without - 1))
    note = f"the scorers alone, in one process and in turn, the same {len(rows)} rows each time"
    return [row_of("FRE + FIE against the plain backbone, 100 rows", costs, "% CPU", "<=", 3.0, note=note)]


def _logits(scorer: Scorer, rows: pa.Table) -> None:
    scorer.logits_of(scorer.encode(rows))


def _cpu_s(work: Callable[[], object]) -> float:
    began = time.process_time()
    for _ in range(CALLS):
        work()
    return time.process_time() - began


@contextmanager
def service(
    work: Workload, backbone: str = "deepfm", *, enhancer: str = "llactr", workers: int = 1
) -> Iterator[Server]:
    """Ours with a backbone, after a second of requests, so that no figure has a first time in it."""
    home = work.folder / f"home-{backbone}-{enhancer}-{workers}"
    try:
        with ours(work.bundle(backbone, enhancer), home, workers) as server:
            server.load(work.json_bodies(1), 4, 1.0)
            yield server
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _json_rows(work: Workload, server: Server, effort: ScoringEffort) -> list[Row]:
    def runs(rows: int, many: int) -> list[Side]:
        return [Side(server, work.json_bodies(rows), many)]

    one, single, hundred, thousand = (
        in_turn(runs(rows, many), effort.seconds, effort.repeats)[0]
        for rows, many in ((1, 1), (1, MANY), (100, 4), (1000, 4))
    )
    return [
        row_of(LATENCY, [run.p50_us for run in one], "us", "<=", 200.0, one),
        row_of(SINGLE, [run.per_s for run in single], "requests/s", ">=", 12_000.0, single),
        row_of(JSON_100, [100 * run.per_s for run in hundred], "rows/s", ">=", 180_000.0, hundred),
        row_of(JSON_1000, [1000 * run.per_s for run in thousand], "rows/s", ">=", 150_000.0, thousand),
    ]


def _arrow(work: Workload, server: Server, model: str, reach: float, effort: ScoringEffort, callers: int = 4) -> Row:
    bodies = work.arrow_bodies(1000)
    pairs = zip(read_bodies(bodies)[:3], read_bodies(work.json_bodies(1000))[:3], strict=True)
    scores_equal(((server.scores(arrow, ARROW), server.scores(text)) for arrow, text in pairs), "JSON")
    runs = in_turn([Side(server, bodies, callers, ARROW)], effort.seconds, effort.repeats)[0]
    return row_of(
        f"Arrow, 1000 rows a request, {model}", [1000 * run.per_s for run in runs], "rows/s", ">=", reach, runs
    )


def _two_workers(work: Workload, effort: ScoringEffort) -> list[Row]:
    with service(work) as one, service(work, workers=2) as two:
        bodies = work.json_bodies(100)
        both = in_turn([Side(one, bodies, 4), Side(two, bodies, 8)], effort.seconds, effort.repeats)
    costs = [100 * (more.cpu_us / single.cpu_us - 1) for single, more in zip(*both, strict=True)]
    note = (
        "100 rows a request, in turn, four connections for each worker, all on one core: what is shared would show, "
        "and not what a second core gives"
    )
    return [row_of("two workers against one, CPU a request", costs, "% CPU", "<=", 5.0, note=note)]


def _start(work: Workload, effort: ScoringEffort) -> Row:
    """The first start is not counted: it brings the bundle's files into the page cache."""
    bundle = work.bundle()
    size = sum(file.stat().st_size for file in bundle.iterdir()) / 1e6
    seconds = []
    with ours(bundle, work.folder / "home-start") as server:
        for _ in range(effort.starts):
            server.stop()
            seconds.append(server.start())
    note = f"the bundle has {size:.0f} MB; starts on both cores, files in the page cache"
    return row_of("ready after start", seconds, "s", "<=", 2.0, note=note)


def _memory(server: Server) -> list[Row]:
    memory = server.memory_mb()
    note = f"{memory['resident']:.0f} MB with the {memory['files']:.0f} MB that are mapped from files"
    return [Row("memory beyond mapped files", memory["resident"] - memory["files"], "MB", "<=", 300.0, note=note)]


def _floor(work: Workload) -> list[Row]:
    """What the model alone takes in this process: the graph on ready arrays, and its largest product."""
    scorer = Scorer.load(work.bundle())
    encoded = scorer.encode(work.rows(1000, seed=1))
    x, w = np.random.default_rng(0).random((2, 256, 300)).astype(np.float32), np.ones((300, 300), np.float32)
    logits, products = [], []
    for _ in range(50):
        began = time.perf_counter()
        scorer.logits_of(encoded)
        logits.append(time.perf_counter() - began)
    for _ in range(500):
        began = time.perf_counter()
        x[0] @ w
        products.append(time.perf_counter() - began)
    return [
        Row("floor: the model on ready ids, 1000 rows", 1000 / min(logits), "rows/s", ">=", note="best of 50"),
        Row("floor: matrix products", 2 * 256 * 300**2 / min(products) / 1e9, "GFLOPS", ">=", note="numpy, one core"),
    ]
