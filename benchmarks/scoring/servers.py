"""Servers under load: ours and the peers', each a child process kept on one core."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import psutil
from ctr_house import CtrHouse
from servers import free_port

from benchmarks.load.processes import pin
from llactr_core.bundle import Bundle

ROOT = Path(__file__).parents[2]
SERVER_CORE, LOAD_CORE = 0, 1
JSON, ARROW = "application/json", "application/vnd.apache.arrow.stream"
START_S = 120


@dataclass
class Measured:
    """One run of the load generator, and the server's processor time in it."""

    answered: float
    failed: float
    seconds: float
    p50_us: float
    p99_us: float
    cpu_s: float

    @property
    def per_s(self) -> float:
        """Requests a second."""
        return self.answered / self.seconds

    @property
    def cpu_us(self) -> float:
        """The server's processor time for a request, in microseconds."""
        return self.cpu_s / self.answered * 1e6


class Server:
    """A process that answers POST requests on a port of loopback."""

    def __init__(self, command: Sequence[str], port: int, path: str, ready: str, env: Mapping[str, str]) -> None:
        self.port, self.path = port, path
        self.url = f"http://127.0.0.1:{port}"
        self._command, self._ready = command, ready
        self._env = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", **env}
        self._load_cores = {LOAD_CORE}
        self.start()

    def start(self) -> float:
        """Start it, on all cores, and keep it on its own one once it is ready; the seconds until then."""
        began = time.monotonic()
        quiet = subprocess.DEVNULL
        self._process = subprocess.Popen(
            self._command, cwd=ROOT, env=self._env, stdout=quiet, stderr=quiet, start_new_session=True
        )
        try:
            self._wait(self._ready)
        except BaseException:
            self.stop()
            raise
        took = time.monotonic() - began
        for process in self.processes():
            pin(process.pid, SERVER_CORE)
        return took

    def _wait(self, ready: str) -> None:
        until = time.monotonic() + START_S
        while time.monotonic() < until:
            if self._process.poll() is not None:
                raise RuntimeError(f"{self._process.args!r} ended with status {self._process.returncode}")
            try:
                if httpx2.get(f"{self.url}{ready}", timeout=2).status_code == 200:
                    return
            except httpx2.TransportError:
                pass
            time.sleep(0.02)
        raise RuntimeError(f"{self._process.args!r} is not ready after {START_S} s")

    def spread(self) -> None:
        """Keep its two workers on a core each; from here on the load comes from whichever core has time."""
        cores = (SERVER_CORE, LOAD_CORE)
        for core, worker in zip(cores, self.processes()[1:], strict=True):
            pin(worker.pid, core)
        self._load_cores = set(cores)

    def processes(self) -> list[psutil.Process]:
        """The server's processes."""
        parent = psutil.Process(self._process.pid)
        return [parent, *parent.children(recursive=True)]

    def cpu_s(self) -> float:
        """Processor seconds of all of them so far."""
        times = [process.cpu_times() for process in self.processes()]
        return sum(one.user + one.system for one in times)

    def workers_cpu_s(self) -> list[float]:
        """Processor seconds of each process below the first."""
        return [times.user + times.system for times in (one.cpu_times() for one in self.processes()[1:])]

    def memory_mb(self) -> dict[str, float]:
        """Of all of them: resident memory in MB, and of it what is mapped from files."""
        found = {"VmRSS": 0.0, "RssFile": 0.0}
        for process in self.processes():
            for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
                name = line.partition(":")[0]
                if name in found:
                    found[name] += float(line.split()[1]) * 1024 / 1e6
        return {"resident": found["VmRSS"], "files": found["RssFile"]}

    def scores(self, body: bytes, media: str = JSON) -> list[float]:
        """The scores of one request."""
        answer = httpx2.post(f"{self.url}{self.path}", content=body, headers={"Content-Type": media}, timeout=60)
        found: list[float] = answer.raise_for_status().json()["scores"]
        return found

    def load(self, bodies: Path, concurrency: int, seconds: float, media: str = JSON) -> Measured:
        """Send requests, by default from the core that it is not on, for so long.

        The processor time is that of all of the server's processes, from before the generator starts until after it
        ends.
        """
        command = ["benchmarks.scoring.load", self.port, self.path, media, bodies, concurrency, seconds]
        before = self.cpu_s()
        done = subprocess.run(
            [sys.executable, "-m", *map(str, command)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
            preexec_fn=lambda: os.sched_setaffinity(0, self._load_cores),
        )
        seen: dict[str, Any] = json.loads(done.stdout)
        if seen["failed"]:
            raise RuntimeError(f"{seen['failed']} of {seen['answered']} requests were not answered with 200")
        return Measured(**seen, cpu_s=self.cpu_s() - before)

    def stop(self) -> None:
        """End all processes."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self._process.pid, number)
                self._process.wait(10)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                continue
        self._process.wait()

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop()


def ours(bundle: Path, home: Path, workers: int = 1) -> Server:
    """The CTR service with a bundle as its only champion, at its default settings but for room for large tables."""
    shutil.rmtree(home, ignore_errors=True)
    house = CtrHouse(home)
    house.publish(Bundle.open(bundle), "bench")
    for client in (house.anyone, house.admin):
        client.close()
    settings = {"LLACTR_CTR_MEMORY_MB": "8192", "LLACTR_CTR_WORKERS": str(workers)}
    own = {"LLACTR_HOME": str(home), "CTR_PORT": str(house.port), **settings}
    return Server([sys.executable, "-m", "services.ctr.api"], house.port, "/v1/score", "/readyz", own)


def echo() -> Server:
    """A server that does nothing for a request but answer it."""
    port = free_port()
    return Server([sys.executable, "-m", "benchmarks.scoring.echo", str(port)], port, "/v1/score", "/readyz", {})


def peer(python: Path, script: Path, bundle: Path, path: str, ready: str) -> Server:
    """A peer's server from its own environment."""
    port = free_port()
    return Server(
        [str(python), str(script), str(bundle), str(port)], port, path, ready, {"PYTHONPATH": str(script.parent)}
    )
