"""`make soak`: a CTR service at half of its capacity while models are swapped, workers end and servers are lost.

Two workers of the API on one core, the load generator on another; a real PostgreSQL and a real Redis. First the
capacity is measured, then SOAK_SECONDS (600) with SIGTERM to a worker every 60 s, then SOAK_KILL_SECONDS (120) with
SIGKILL every 20 s, while Python clients call as well. Writes docs/soak.md and docs/soak.json; ends with status 1 where
a score was wrong, or a request failed that may not.
"""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ctr_house import CtrHouse
from servers import Postgres, Redis

from benchmarks.load.callers import Callers
from benchmarks.load.generator import Generator, Load, finished
from benchmarks.load.page import write
from benchmarks.load.processes import load_average
from benchmarks.load.trouble import LOST_S, Event, Trouble
from benchmarks.load.versions import MANY_ROWS, MODEL, Truth, as_json, bodies, said_of, trained

SERVICE_CORE, GENERATOR_CORE = 0, 1
CAPACITY_S = 10.0
WORKERS, CONNECTIONS = 2, 16
FEW = 4  # connections that keep two workers busy and let no queue grow
MIX = (9, 1)  # requests of one row, and of a hundred
TERM_S, KILL_S = 60.0, 20.0
REDIS_AT, POSTGRES_AT = 0.25, 0.55  # shares of the run after which they are lost


def main() -> None:
    """Run, write the page, and say by the exit status whether it held."""
    if len(sys.argv) > 1:
        sys.exit("error: this takes no arguments; SOAK_SECONDS and SOAK_KILL_SECONDS say how long it runs")
    seconds = float(os.environ.get("SOAK_SECONDS", "600"))
    kill_seconds = float(os.environ.get("SOAK_KILL_SECONDS", "120"))
    with tempfile.TemporaryDirectory(prefix="llactr-soak-") as name, running(Path(name)) as soak:
        result: dict[str, Any] = {"capacity": soak.capacity(), **soak.measured_rate()}
        result["term"] = soak.terminate(seconds)
        if kill_seconds:
            result["kill"] = soak.kill(kill_seconds)
        result |= {"seconds": seconds, "kill_seconds": kill_seconds, "faults": soak.faults}
    write("soak", result)
    sys.exit(1 if result["faults"] else 0)


@dataclass
class Soak:
    """A service that runs, and all that is needed to load it, to trouble it, and to judge what it answers."""

    house: CtrHouse
    parent: int  # the process that starts the workers
    postgres: Postgres
    redis: Redis
    generator: Generator
    requests: list[list[dict[str, str]]]
    truth: Truth
    rate: float = 0.0
    faults: list[str] = field(default_factory=list)

    def capacity(self) -> dict[str, Any]:
        """Requests a second that are answered in a closed loop, by rows a request."""
        measured = {}
        for rows in (1, MANY_ROWS):
            load = self.generator.run([as_json(one) for one in bodies(10, rows)], FEW, CAPACITY_S)
            p99 = load.latency_ms(200, "p99")
            measured[f"{rows} rows"] = {"per_s": load.per_s, "p99_ms": p99, "machine_load": load_average()}
        return measured

    def measured_rate(self) -> dict[str, float]:
        """Set the rate to half of what the mix's capacity is."""
        capacity = self.generator.run(list(map(as_json, self.requests)), FEW, CAPACITY_S).per_s
        self.rate = capacity / 2
        return {"mixed_capacity": capacity, "rate": self.rate}

    def terminate(self, seconds: float) -> dict[str, Any]:
        """Swaps, SIGTERM to workers, and lost servers: nothing may fail."""
        trouble = self._trouble()
        lost = [*_losing(self.postgres, seconds * POSTGRES_AT), *_losing(self.redis, seconds * REDIS_AT)]
        started = self._start(seconds)
        trouble.play([*trouble.swapping(seconds), *trouble.ending(signal.SIGTERM, TERM_S, seconds), *lost], seconds)
        return self._judged(finished(started), trouble, lost_allowed=0)

    def kill(self, seconds: float) -> dict[str, Any]:
        """Swaps and SIGKILL to workers: what they serve at that moment may fail, and no call of the Python client."""
        trouble = self._trouble()
        callers = Callers(self.house.url, self.requests, self.truth)
        started = self._start(seconds)
        callers.start()
        trouble.play([*trouble.swapping(seconds), *trouble.ending(signal.SIGKILL, KILL_S, seconds)], seconds)
        callers.stop()
        numbers = self._judged(finished(started), trouble, lost_allowed=sum(trouble.ended))
        if callers.failures or callers.wrong:
            self.faults.append(f"Python client: {callers.failures[:3]}, {callers.wrong} wrong")
        told = {"calls": callers.calls, "failures": len(callers.failures), "wrong": callers.wrong}
        return {**numbers, "client": told}

    def _trouble(self) -> Trouble:
        return Trouble(self.house.admin, self.parent, self.house.port, MODEL, list(self.truth.scores))

    def _start(self, seconds: float) -> "subprocess.Popen[str]":
        return self.generator.start(list(map(as_json, self.requests)), CONNECTIONS, seconds, self.rate)

    def _judged(self, load: Load, trouble: Trouble, lost_allowed: int) -> dict[str, Any]:
        """The numbers of a phase; what was wrong in it is added to the faults."""
        answers = load.report["answers"]
        left_out = load.report["answers_left_out"]
        wrong = self.truth.wrong(answers)
        if wrong or left_out:
            self.faults.append(f"wrong scores: {wrong[:3]}, {left_out} answers not looked at")
        if load.failed > lost_allowed or load.refused:
            self.faults.append(f"failed: {load.report['failed']}, answered: {load.report['answered']}")
        if len({said_of(one)["model"]["version"] for one in answers if one["status"] == 200}) < len(self.truth.scores):
            self.faults.append("not every version has answered")
        return {
            "sent": load.sent,
            "answered": load.report["answered"],
            "failed": load.report["failed"],
            "late": load.report["late"],
            "seconds_with_refusals": load.bad_seconds(),
            "distinct_answers": len(answers),
            "wrong": len(wrong),
            "swaps": trouble.swaps,
            "swaps_refused": trouble.swaps_refused,
            "connections_of_ended_workers": trouble.ended,
            "memory_mb": [round(mb, 1) for _, mb in trouble.memory],
            "memory_mb_per_hour": trouble.slope_mb_per_hour,
            "machine_load": load_average(),
        }


@contextmanager
def running(folder: Path) -> Iterator[Soak]:
    """Train two versions, start PostgreSQL, Redis and the service, and end them all afterwards."""
    folder.chmod(0o755)  # PostgreSQL's account has to get through
    bundles = trained(folder)
    requests = bodies(MIX[0], 1) + bodies(MIX[1], MANY_ROWS)
    postgres, redis = Postgres(folder), Redis(folder)
    postgres.start()
    redis.start()
    extra = {
        "LLACTR_CTR_WORKERS": str(WORKERS),
        "LLACTR_CTR_LOG_LEVEL": "WARNING",
    }
    house = CtrHouse(folder / "home", postgres.new_database(), redis.url, extra)
    for bundle in bundles:
        house.publish(bundle, MODEL)
    os.sched_setaffinity(0, {SERVICE_CORE})  # what is started from here on stays there
    parent = house.start().pid
    os.sched_setaffinity(0, {GENERATOR_CORE})
    try:
        house.until_ready()
        generator = Generator(folder, house.port, GENERATOR_CORE)
        yield Soak(house, parent, postgres, redis, generator, requests, Truth.of(bundles, requests))
    finally:
        house.stop()
        redis.close()
        postgres.close()


def _losing(server: Postgres | Redis, at: float) -> list[Event]:
    """A server is killed, and started again after 30 s."""
    return [Event(at, server.kill), Event(at + LOST_S, server.start)]


if __name__ == "__main__":
    main()
