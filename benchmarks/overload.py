"""`make overload`: three times of what one worker of the CTR service can do, and what comes after.

One worker on one core, the load generator on another, 100 rows a request. Demanded: refusals (429, 503) within 100 ms,
at least 40 % of the capacity still served (a refusal takes 0.3 to 0.4 ms, its 25 KB arrive all the same), memory
bounded, and within 5 s after it the service is as before. Writes docs/overload.md and docs/overload.json;
OVERLOAD_SECONDS (30) says how long.
"""

import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ctr_house import CtrHouse

from benchmarks.load.generator import Generator, Load, finished
from benchmarks.load.page import write
from benchmarks.load.processes import load_average, memory_mb
from benchmarks.load.versions import MANY_ROWS, MODEL, as_json, bodies, trained

SERVICE_CORE, GENERATOR_CORE = 0, 1
CAPACITY_S = 10.0
FEW, MANY = 4, 256
REFUSALS = (429, 503)


@dataclass(frozen=True)
class Bounds:
    """What is demanded: milliseconds, a share of the capacity, seconds, and MiB above rest."""

    refused_ms: float = 100.0
    goodput: float = 0.4
    recovery_s: int = 5
    memory_mb: float = 256.0


def main() -> None:
    """Run, write the page, and say by the exit status whether it held."""
    seconds = float(os.environ.get("OVERLOAD_SECONDS", "30"))
    with tempfile.TemporaryDirectory(prefix="llactr-overload-") as name:
        folder = Path(name)
        house = CtrHouse(folder / "home", extra={"LLACTR_CTR_LOG_LEVEL": "WARNING"})
        house.publish(trained(folder)[0], MODEL)
        os.sched_setaffinity(0, {SERVICE_CORE})  # what is started from here on stays there
        api = house.start()
        os.sched_setaffinity(0, {GENERATOR_CORE})
        try:
            house.until_ready()
            result = overload(Generator(folder, house.port, GENERATOR_CORE), api.pid, seconds)
        finally:
            house.stop()
    write("overload", result)
    sys.exit(1 if result["faults"] else 0)


def overload(generator: Generator, pid: int, seconds: float, requests: list[bytes] | None = None) -> dict[str, Any]:
    """Capacity, three times of it, and half of it; the numbers, and under `faults` what is not as it has to be."""
    sent = requests or [as_json(rows) for rows in bodies(10, MANY_ROWS)]
    generator.run(sent, FEW, 2)  # the first requests are slower
    before = generator.run(sent, FEW, min(seconds, CAPACITY_S))
    capacity = before.per_s
    rest_mb = memory_mb(pid)
    machine_load = load_average()
    started = generator.start(sent, MANY, seconds, 3 * capacity)
    peak_mb = _peak(pid, seconds)
    during = finished(started)
    after = generator.run(sent, FEW, min(seconds, 10), capacity / 2)
    result = {
        "seconds": seconds,
        "capacity_per_s": capacity,
        "machine_load_before": machine_load,
        "asked_per_s": during.sent / seconds,
        "served_per_s": during.count(200) / seconds,
        "served_share": during.count(200) / seconds / capacity,
        "served_ms": _latencies(during, (200,)),
        "refused_per_s": during.refused / seconds,
        "refused_ms": _latencies(during, REFUSALS),
        "failed": during.report["failed"],
        "memory_mb": {"rest": rest_mb, "peak": peak_mb},
        "recovered_after_s": _recovered(after),
        "after_ms": _latencies(after, (200,)),
        "machine_load_after": load_average(),
    }
    return {**result, "faults": _faults(result, during, after, Bounds())}


def _faults(result: dict[str, Any], during: Load, after: Load, bounds: Bounds) -> list[str]:
    faults = []
    if any(during.latency_ms(status, "p99") > bounds.refused_ms for status in REFUSALS):
        faults.append(f"refused later than {bounds.refused_ms} ms: {result['refused_ms']}")
    if during.failed or during.refused != sum(map(during.count, REFUSALS)):
        faults.append(f"failed: {during.report['failed']}, answered: {during.report['answered']}")
    if result["served_share"] < bounds.goodput:
        faults.append(f"{result['served_share']:.2f} of the capacity was served; at least {bounds.goodput} is demanded")
    if result["memory_mb"]["peak"] - result["memory_mb"]["rest"] > bounds.memory_mb:
        faults.append(f"memory grew: {result['memory_mb']}")
    if after.failed or _recovered(after) > bounds.recovery_s:
        faults.append(f"not as before within {bounds.recovery_s} s: {after.report['timeline']}")
    return faults


def _recovered(after: Load) -> int:
    """Whole seconds until nothing was refused or failed any more."""
    timeline = after.report["timeline"]
    return max((number + 1 for number, (_, refused, failed) in enumerate(timeline) if refused or failed), default=0)


def _latencies(load: Load, statuses: tuple[int, ...]) -> dict[str, float]:
    given = [status for status in statuses if load.count(status)]
    return {which: max((load.latency_ms(one, which) for one in given), default=0.0) for which in ("p50", "p99", "max")}


def _peak(pid: int, seconds: float) -> float:
    """The most memory that a process had, looked at ten times a second."""
    peak = 0.0
    for _ in range(int(seconds * 10)):
        peak = max(peak, memory_mb(pid))
        time.sleep(0.1)
    return peak


if __name__ == "__main__":
    main()
