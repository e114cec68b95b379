"""The stack that the compose file describes: started, looked at from outside and inside, and its containers killed."""

import json
import socket
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from typing import Any

from llactr_client import Client, ClientError

from benchmarks.compose.podman import Podman, PodmanError
from benchmarks.compose.report import Report

LONG_RUNNING = ("postgres", "redis", "llm-api", "llm-worker", "ctr-api", "ctr-worker")
OURS = LONG_RUNNING[2:]
KEYS = "/run/llactr/keys"
START_S = 180.0
MODEL_S = 1200.0
ROWS: list[dict[str, object]] = [
    {"age": 41, "job": "technician", "contact": "cellular", "month": "may", "poutcome": "success"},
    {"age": 33, "job": "blue-collar", "contact": "unknown", "month": "nov"},
    {"age": None, "job": "astronaut"},
]
Scores = tuple[float, ...]


def free_ports(count: int) -> list[int]:
    """Ports on loopback that nothing listens on."""
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [int(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return ports


class Stack:
    """The running services, as a caller sees them and as Podman does.

    Args:
        podman: with the compose file.
        ports: what CTR_PORT, LLM_PORT and PROMETHEUS_PORT say.
        report: of this run.
    """

    def __init__(self, podman: Podman, ports: list[int], report: Report) -> None:
        self.podman = podman
        self.report = report
        self._ctr, self._llm, self._prometheus = (f"http://127.0.0.1:{port}" for port in ports)

    def start(self) -> None:
        """The default profile and Prometheus, until the model of the sample answers."""
        self.podman.compose("up", "--detach", "--no-build")
        self.podman.compose("--profile", "observability", "up", "--detach", "--no-build", "prometheus")
        self.until("every container's own health check", self._all_healthy, START_S)
        self.until("setup to have a model trained", self._set_up, MODEL_S)
        code = self.podman.inspect("setup")["State"]["ExitCode"]
        last = self.podman.run("logs", "--tail", "12", self.podman.container("setup")).strip().splitlines()
        for line in last:
            self.report.note(line)
        self.report.check("setup ended with 0", code == 0, code)

    def client(self) -> Client:
        """A client with the admin key, which is read where the docs say."""
        return Client(self._ctr, self._llm, self.podman.inside("ctr-api", "cat", f"{KEYS}/admin.key"))

    def scores(self, client: Client) -> Scores | None:
        """The scores of the rows; None where the service does not answer."""
        try:
            return tuple(client.score(ROWS).scores)
        except ClientError:
            return None

    def status_without_key(self) -> int:
        """What scoring answers to a caller without a key."""
        body = json.dumps({"rows": ROWS}).encode()
        request = urllib.request.Request(f"{self._ctr}/v1/score", body, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code

    def targets(self) -> dict[str, str]:
        """What Prometheus says of what it scrapes: service -> up or down."""
        found = self._ask_prometheus("targets")["activeTargets"]
        return {target["labels"]["service"]: target["health"] for target in found}

    def prometheus_ready(self) -> bool:
        """Whether Prometheus answers queries."""
        try:
            with urllib.request.urlopen(f"{self._prometheus}/-/ready", timeout=10):
                return True
        except OSError:
            return False

    def query(self, expression: str) -> float:
        """The sum of what a query answers."""
        found = self._ask_prometheus(f"query?query={urllib.parse.quote(expression)}")["result"]
        return sum(float(one["value"][1]) for one in found)

    def alerting_rules(self) -> int:
        """How many rules of ours Prometheus has loaded and evaluates without an error."""
        groups = self._ask_prometheus("rules")["groups"]
        return sum(rule["health"] in ("ok", "unknown") for group in groups for rule in group["rules"])

    def until(self, what: str, check: Callable[[], bool], wait_s: float) -> None:
        """Look every second until it is so.

        Raises:
            PodmanError: it is not in time.
        """
        deadline = time.monotonic() + wait_s
        while not check():
            if time.monotonic() > deadline:
                raise PodmanError(f"waited {wait_s:.0f} s for {what}")
            time.sleep(1.0)

    def _all_healthy(self) -> bool:
        return all(self.podman.healthy(service) for service in LONG_RUNNING)

    def _set_up(self) -> bool:
        return str(self.podman.inspect("setup")["State"]["Status"]) == "exited"

    def _ask_prometheus(self, path: str) -> Any:
        with urllib.request.urlopen(f"{self._prometheus}/api/v1/{path}", timeout=10) as answer:
            return json.load(answer)["data"]
