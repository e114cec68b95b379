"""The load generator `load.c`: compiled into a folder, run on one core, and what it reports."""

import json
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).with_name("load.c")
TIMEOUT_MS = 5000


@dataclass(frozen=True)
class Load:
    """What one run sent and heard; `report` is the JSON of load.c."""

    report: dict[str, Any]

    @property
    def sent(self) -> int:
        """Requests sent."""
        return int(self.report["sent"])

    @property
    def failed(self) -> int:
        """Requests without an answer: the connection was refused or reset, time passed, or it was no HTTP."""
        return sum(self.report["failed"].values())

    @property
    def refused(self) -> int:
        """Requests answered with another status than 200."""
        return sum(self.count(int(status)) for status in self.report["answered"] if status != "200")

    @property
    def per_s(self) -> float:
        """Requests a second answered with 200."""
        return self.count(200) / float(self.report["seconds"])

    def count(self, status: int) -> int:
        """Answers with this status."""
        return int(self.report["answered"].get(str(status), {"count": 0})["count"])

    def latency_ms(self, status: int, which: str) -> float:
        """`p50`, `p99` or `max` of the answers with this status, 0 where there is none."""
        return float(self.report["answered"].get(str(status), {}).get(f"{which}_ms", 0.0))

    def bad_seconds(self) -> list[str]:
        """The seconds of the run in which not all was well, as `second: refused, failed`."""
        timeline = enumerate(self.report["timeline"])
        return [f"{number}: {refused}, {failed}" for number, (_, refused, failed) in timeline if refused or failed]


class Generator:
    """Sends POST requests to one port from one core.

    Args:
        folder: where the program and the bodies are put.
        port: that of the service, on loopback.
        core: the only one that the generator uses; None: any.
    """

    def __init__(self, folder: Path, port: int, core: int | None) -> None:
        self._folder = folder
        self._port = port
        self._core = core
        self._program = folder / "load"
        command = ["cc", "-O2", "-D_GNU_SOURCE", "-o", str(self._program), str(SOURCE)]
        subprocess.run(command, check=True, capture_output=True)

    def start(
        self, bodies: Sequence[bytes], connections: int, seconds: float, rate: float | None = None
    ) -> "subprocess.Popen[str]":
        """Start sending; a rate in requests a second, without one as fast as answers come."""
        command = [str(self._program), "--port", str(self._port), "--path", "/v1/score"]
        command += ["--connections", str(connections), "--seconds", str(seconds), "--timeout-ms", str(TIMEOUT_MS)]
        for number, body in enumerate(bodies):
            path = self._folder / f"body-{number}.json"
            path.write_bytes(body)
            command += ["--body", str(path)]
        if rate is not None:
            command += ["--rate", str(rate)]
        started = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        if self._core is not None:
            os.sched_setaffinity(started.pid, {self._core})
        return started

    def run(self, bodies: Sequence[bytes], connections: int, seconds: float, rate: float | None = None) -> Load:
        """Send, and wait for the report."""
        return finished(self.start(bodies, connections, seconds, rate))


def finished(started: "subprocess.Popen[str]") -> Load:
    """Wait for a generator that was started.

    Raises:
        RuntimeError: it failed.
    """
    report, _ = started.communicate()
    if started.returncode != 0:
        raise RuntimeError(f"the load generator ended with status {started.returncode}")
    return Load(json.loads(report))
