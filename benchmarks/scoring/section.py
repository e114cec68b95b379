"""The bench's section on scoring: the real service and the peers' servers, on one core, the load from the other."""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.bench.effort import ScoringEffort
from benchmarks.bench.rows import Row
from benchmarks.scoring.load import read_bodies
from benchmarks.scoring.peers.race import PEERS, against, scores_equal
from benchmarks.scoring.readings import MANY, Side, in_turn, row_of
from benchmarks.scoring.servers import ARROW, Measured, Server, echo, ours
from benchmarks.scoring.workload import Workload
from llactr_core.scorer import Scorer

LATENCY, SINGLE, JSON_100, JSON_1000 = (
    "one row, p50 at concurrency 1",
    "one-row requests",
    "JSON, 100 rows a request",
    "JSON, 1000 rows a request",
)
TURNS, CALLS = 31, 50
TRIES, FAIR = 20, 0.3
START_VALUES = 41_000  # of a field, in a bundle of 100 MB
EXACT = ", fp32"  # ends the names of rows without 8-bit products
GOLDEN = "golden rows score as in eager torch to 1e-6 at loading"
NOTHING = "a server on the same event loop (uvloop) that answers and does nothing else, in turn with ours"
ROUNDED = "8-bit products; the rows on the change of AUC say what they cost"


def quick(work: Workload, effort: ScoringEffort) -> list[Row]:
    """JSON at 1, 100 and 1000 rows, and FastAPI; about three minutes."""
    with service(work, precision="int8") as server:
        many = _many_rows(work, server, effort)
    with service(work) as server:
        return [*_one_row(work, server, effort), *many, *against(work, server, next(iter(PEERS)), effort)]


def own(work: Workload, effort: ScoringEffort) -> list[Row]:
    """What one worker does by itself; about two minutes."""
    with service(work) as server:
        exact = [*_one_row(work, server, effort), *_many_rows(work, server, effort, is_exact=True), *_memory(server)]
        exact.append(_arrow(work, server, f"DeepFM{EXACT}", None, effort))
    with service(work, precision="int8") as server:
        rounded = [*_many_rows(work, server, effort), _arrow(work, server, "DeepFM", 200_000.0, effort)]
    return [*exact, *rounded, *_floor(work)]


def wukong(work: Workload, effort: ScoringEffort) -> list[Row]:
    """Two callers: with more of them 1000 rows would wait for longer than the service lets any wait."""
    rows = []
    for precision, name, reach in (("fp32", f"WuKong{EXACT}", None), ("int8", "WuKong", 45_000.0)):
        with service(work, "wukong", precision=precision) as server:
            rows.append(_arrow(work, server, name, reach, effort, callers=2))
    return rows


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
    work: Workload, backbone: str = "deepfm", *, enhancer: str = "llactr", precision: str = "fp32", workers: int = 1
) -> Iterator[Server]:
    """Ours with a backbone, after a second of requests, so that no figure has a first time in it."""
    home = work.folder / f"home-{backbone}-{enhancer}-{precision}-{workers}"
    try:
        with ours(work.bundle(backbone, enhancer, precision), home, workers) as server:
            server.load(work.json_bodies(1), 4, 1.0)
            yield server
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _one_row(work: Workload, server: Server, effort: ScoringEffort) -> list[Row]:
    bodies = work.json_bodies(1)
    with echo() as nothing:
        sides = [Side(server, bodies, 1), Side(nothing, bodies, 1)]
        one, bare = in_turn(sides, effort.seconds, effort.repeats)
    single = in_turn([Side(server, bodies, MANY)], effort.seconds, effort.repeats)[0]
    return [
        row_of(LATENCY, [run.p50_us for run in one], "us", "<=", 200.0, one, note=GOLDEN),
        row_of(f"floor: {LATENCY}", [run.p50_us for run in bare], "us", "<=", None, bare, note=NOTHING),
        row_of(SINGLE, [run.per_s for run in single], "requests/s", ">=", 12_000.0, single, note=GOLDEN),
    ]


def _many_rows(work: Workload, server: Server, effort: ScoringEffort, *, is_exact: bool = False) -> list[Row]:
    rows = []
    for name, count, wanted in ((JSON_100, 100, 180_000.0), (JSON_1000, 1000, 150_000.0)):
        runs = in_turn([Side(server, work.json_bodies(count), 4)], effort.seconds, effort.repeats)[0]
        rates = [count * run.per_s for run in runs]
        if is_exact:
            rows.append(row_of(name + EXACT, rates, "rows/s", ">=", None, runs, note=GOLDEN))
        else:
            rows.append(row_of(name, rates, "rows/s", ">=", wanted, runs, note=ROUNDED))
    return rows


def _arrow(
    work: Workload, server: Server, model: str, reach: float | None, effort: ScoringEffort, callers: int = 4
) -> Row:
    bodies = work.arrow_bodies(1000)
    pairs = zip(read_bodies(bodies)[:3], read_bodies(work.json_bodies(1000))[:3], strict=True)
    scores_equal(((server.scores(arrow, ARROW), server.scores(text)) for arrow, text in pairs), "JSON")
    runs = in_turn([Side(server, bodies, callers, ARROW)], effort.seconds, effort.repeats)[0]
    name, note = f"Arrow, 1000 rows a request, {model}", ROUNDED if reach else GOLDEN
    return row_of(name, [1000 * run.per_s for run in runs], "rows/s", ">=", reach, runs, note=note)


def _two_workers(work: Workload, effort: ScoringEffort) -> list[Row]:
    with service(work) as one, service(work, workers=2) as two:
        two.spread()
        bodies = work.json_bodies(1000)
        both = [(one.load(bodies, 4, effort.seconds), _by_both(two, bodies, effort)) for _ in range(effort.repeats)]
    costs = [100 * (more.cpu_us / single.cpu_us - 1) for single, more in both]
    gain = float(np.median([more.per_s / single.per_s for single, more in both]))
    note = (
        f"1000 rows a request, in turn, four connections for each worker, a core for each of the two, which also send "
        f"the requests; together they answer {gain:.2f} times as many"
    )
    return [row_of("two workers against one, CPU a request", costs, "% CPU", "<=", 5.0, note=note)]


def _by_both(server: Server, bodies: Path, effort: ScoringEffort) -> Measured:
    """A run in which each of two workers has a fair part: whoever wakes up first accepts a connection, and keeps it."""
    for _ in range(TRIES):
        before = server.workers_cpu_s()
        run = server.load(bodies, 8, effort.seconds)
        spent = np.subtract(server.workers_cpu_s(), before)
        if spent.min() > FAIR * spent.sum():
            return run
    raise RuntimeError(f"in {TRIES} runs one of two workers had nearly all connections")


def _start(work: Workload, effort: ScoringEffort) -> Row:
    """The first start is not counted: it brings the bundle's files into the page cache."""
    bundle = replace(work, values=min(work.values, START_VALUES)).bundle()
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
