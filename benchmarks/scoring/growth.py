"""How the processor time of scoring grows: with rows, requests at once, fields, vocabularies and workers."""

from collections.abc import Iterable
from dataclasses import replace

from benchmarks.bench.effort import ScoringEffort
from benchmarks.bench.rows import Series
from benchmarks.scoring.readings import MANY, Side, in_turn, median_cpu_us
from benchmarks.scoring.section import service
from benchmarks.scoring.servers import Server
from benchmarks.scoring.workload import Workload

ROWS = 100  # a request, where another thing grows


def by_requests(work: Workload, effort: ScoringEffort) -> list[Series]:
    """Against the rows of a request, and against one-row requests at once; about 40 seconds."""
    with service(work) as server:
        rows = [(float(n), _cpu_us(work, server, n, 4, effort) / n) for n in effort.by_rows]
        callers = [(float(n), _cpu_us(work, server, 1, n, effort)) for n in effort.by_callers]
    return [
        _series("Scoring against rows", "rows in a request", "CPU us a row", rows, "JSON, 4 connections."),
        _series("Scoring against batch", "one-row requests at once", "CPU us a request", callers, ""),
    ]


def by_fields(work: Workload, effort: ScoringEffort) -> list[Series]:
    """Against fields; about half a minute once the bundles are there."""
    small = replace(work, values=effort.curve_values)
    points = _of_models(((n, replace(small, fields=n)) for n in effort.by_fields), effort)
    note = f"{small.values:,} values each; requests of {ROWS} rows."
    return [_series("Scoring against fields", "fields", "CPU us a row", points, note)]


def by_vocabulary(work: Workload, effort: ScoringEffort) -> list[Series]:
    """Against vocabularies; about a minute once the bundles are there, of which the largest takes some to train."""
    points = _of_models(((work.fields * n, replace(work, values=n)) for n in effort.by_values), effort)
    note = f"{work.fields} fields; requests of {ROWS} rows."
    return [_series("Scoring against vocabulary", "values of all fields", "CPU us a row", points, note)]


def by_workers(work: Workload, effort: ScoringEffort) -> list[Series]:
    """Against workers; about half a minute."""
    points = []
    for count in effort.by_workers:
        with service(work, workers=count) as server:
            points.append((float(count), _cpu_us(work, server, 1, MANY * count, effort)))
    note = f"One-row requests over {MANY} connections for each worker."
    return [_series("Scoring against workers", "workers on one core", "CPU us a request", points, note)]


CURVES = (by_requests, by_fields, by_workers, by_vocabulary)


def _of_models(models: Iterable[tuple[int, Workload]], effort: ScoringEffort) -> list[tuple[float, float]]:
    points = []
    for size, work in models:
        with service(work) as server:
            points.append((float(size), _cpu_us(work, server, ROWS, 4, effort) / ROWS))
    return points


def _cpu_us(work: Workload, server: Server, rows: int, callers: int, effort: ScoringEffort) -> float:
    side = Side(server, work.json_bodies(rows), callers)
    return median_cpu_us(in_turn([side], effort.curve_seconds, effort.curve_repeats)[0])


def _series(name: str, x_label: str, y_label: str, points: list[tuple[float, float]], note: str) -> Series:
    return Series(name, x_label, y_label, tuple(points), note)
