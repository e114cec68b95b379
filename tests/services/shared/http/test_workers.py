"""Several processes on one port, for real: drained, killed, renewed and ended while callers keep calling."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path

import psutil
import pytest
from servers import free_port, wait_until

ROOT = Path(__file__).parents[4]
APP = """
import asyncio, os, sys
from fastapi import APIRouter, Depends, Request
from fastapi.responses import StreamingResponse
from services.shared.access.auth import Guard
from services.shared.http.app import create_app
from services.shared.http.serving import guarded, serve
from services.shared.settings import ServiceSettings
from services.shared.storage.storage import Storage, migrate
from services.shared.telemetry.metric_routes import metric_router

router = APIRouter()

@router.get("/pid")
async def pid(seconds: float = 0.0) -> int:
    await asyncio.sleep(seconds)
    return os.getpid()

@router.get("/address")
async def address(request: Request) -> str:
    return request.client.host

@router.get("/stream")
async def stream(request: Request):
    async def parts():
        while not request.state.is_ending():
            yield "on "
            await asyncio.sleep(0.1)
        yield "end"
    return StreamingResponse(parts())

@router.get("/readyz")
async def readyz() -> str:
    return "ready"

def main() -> None:
    settings = ServiceSettings(home=sys.argv[1], port=int(sys.argv[2]), workers=int(sys.argv[3]), poll_s=0.05)

    def build():
        storage = Storage(settings.storage_url)
        migrate(storage, "services.llm")
        if (settings.home / "broken").exists():
            raise SystemExit(7)
        return create_app("test", settings, [router, metric_router(storage, Guard(storage, settings))])

    serve(build, settings)

guarded(main)
"""


class Api:
    """The processes, and callers that neither retry nor look whether a connection is still open."""

    def __init__(self, folder: Path, workers: int) -> None:
        self.home = folder
        self.port = free_port()
        script = folder / "app.py"
        script.write_text(APP)
        command = [sys.executable, str(script), str(folder), str(self.port), str(workers)]
        with (folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                command, env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}, stdout=log, stderr=log
            )
        self.failures: list[str] = []
        self.served: Counter[int] = Counter()
        self._stop = threading.Event()
        self._callers: list[threading.Thread] = []

    def connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)

    def get(self, path: str, connection: http.client.HTTPConnection | None = None) -> tuple[int, str, bool]:
        """Status, body, and whether the connection will be closed."""
        if connection is None:
            with closing(self.connection()) as own:
                return self.get(path, own)
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode(), answer.will_close

    def address(self) -> str:
        """Whom the API takes a caller for that a proxy says is 192.0.2.7."""
        with closing(self.connection()) as connection:
            connection.request("GET", "/address", headers={"X-Forwarded-For": "192.0.2.7"})
            return str(json.loads(connection.getresponse().read()))

    def workers(self) -> list[int]:
        """Those of several; a single process is its own."""
        children = psutil.Process(self.process.pid).children()
        return [one.pid for one in children if one.status() != psutil.STATUS_ZOMBIE] or [self.process.pid]

    def log(self) -> str:
        return (self.home / "log").read_text()

    def answers(self) -> bool:
        try:
            return self.get("/pid")[0] == 200
        except OSError:
            return False

    def until_up(self, count: int) -> list[int]:
        """The workers, as soon as `count` of them have answered."""
        seen: set[int] = set()

        def all_seen() -> bool:
            if self.answers():
                with ThreadPoolExecutor(4) as threads:
                    answers = threads.map(self.get, ["/pid?seconds=0.02"] * 4)
                    seen.update(int(body) for _, body, _ in answers)
            return len(seen & set(self.workers())) >= count

        wait_until(all_seen, 60, f"{count} workers to answer")
        return self.workers()

    def call_on(self, threads: int = 6) -> None:
        """Let callers call until `failed` is asked."""
        self.failures.clear()
        self.served.clear()
        self._callers = [threading.Thread(target=self._call) for _ in range(threads)]
        for caller in self._callers:
            caller.start()

    def _call(self) -> None:
        with closing(self.connection()) as connection:
            while not self._stop.wait(0.003):
                try:
                    status, body, _ = self.get("/pid", connection)
                except (OSError, http.client.HTTPException) as error:
                    self.failures.append(repr(error))
                    connection.close()
                    continue
                self.served[int(body)] += 1
                if status != 200:
                    self.failures.append(body)

    def failed(self) -> list[str]:
        """Let the callers rest; what failed since they began."""
        self._stop.set()
        for caller in self._callers:
            caller.join(30)
        self._callers = []
        self._stop.clear()
        return self.failures

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(20)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """Two workers, for the tests that leave two workers behind."""
    api = Api(tmp_path_factory.mktemp("pair"), 2)
    yield api
    api.failed()
    assert api.end() == 0


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[int], Api]]:
    started: list[Api] = []

    def start(workers: int) -> Api:
        started.append(Api(tmp_path, workers))
        return started[-1]

    yield start
    for api in started:
        api.failed()
        if api.process.poll() is None:
            assert api.end() == 0


def test_workers_told_to_end_and_renewed_ones_fail_no_request(pair: Api) -> None:
    api = pair
    first = api.until_up(2)
    api.call_on()
    os.kill(first[0], signal.SIGTERM)
    wait_until(lambda: first[0] not in api.workers(), 20, "the worker to end")
    api.until_up(2)
    second = api.workers()
    api.process.send_signal(signal.SIGHUP)
    wait_until(lambda: not set(second) & set(api.workers()), 40, "all workers to be renewed")
    assert api.failed() == []
    assert len(api.served) >= 4


def test_callers_wait_in_a_long_queue(pair: Api) -> None:
    """Where it is full a caller's connection is dropped, and tried again by its kernel a second later."""
    workers = pair.until_up(2)
    for worker in workers:
        os.kill(worker, signal.SIGSTOP)
    try:
        with ExitStack() as opened:
            for _ in range(100):
                opened.enter_context(socket.create_connection(("127.0.0.1", pair.port), timeout=0.8))
    finally:
        for worker in workers:
            os.kill(worker, signal.SIGCONT)


def test_a_worker_that_is_told_to_end_serves_until_another_one_does(pair: Api) -> None:
    api = pair
    first = api.until_up(2)
    with closing(api.connection()) as connection:
        while int(api.get("/pid", connection)[1]) != first[0]:
            connection.close()
        os.kill(first[0], signal.SIGTERM)
        wait_until(lambda: len(api.workers()) == 3, 20, "the replacement to start")
        (new,) = set(api.workers()) - set(first)
        while not api.get("/pid", connection)[2]:  # it drains from the answer on that closes the connection
            time.sleep(0.01)
        began = time.monotonic()
        assert new in api.until_up(2)
        assert time.monotonic() < began + 1, "the replacement served before the worker drained"
    wait_until(lambda: first[0] not in api.workers(), 20, "the worker to end")


def test_a_killed_worker_is_replaced_takes_only_what_it_was_at_and_its_counts_stay(pair: Api) -> None:
    api = pair
    workers = api.until_up(2)
    assert api.address() == "127.0.0.1"

    def value(name: str) -> list[float]:
        lines = api.get("/metrics")[1].splitlines()
        return [float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name)]

    series = 'llactr_http_requests_total{method="GET",route="/pid",status="2xx"}'
    [before] = value(series)
    for _ in range(40):
        api.get("/pid")
    assert value(series) == [before + 40]
    wait_until(lambda: len(value("process_resident_memory_bytes{")) == 2, 10, "only the living to be shown")
    assert value("llactr_storage_up ") == [1.0]
    assert value("llactr_worker_heartbeat") == []
    wait_until(lambda: value("llactr_http_requests_in_flight ") == [1.0], 10, "the last answer to be counted")
    api.call_on(threads=6)
    time.sleep(0.3)
    os.kill(workers[0], signal.SIGKILL)
    api.until_up(2)
    assert len(api.failed()) <= 6  # one for each of the connections, at most
    assert workers[0] not in api.workers()
    [after] = value(series)
    assert after >= before + 40
    wait_until(lambda: value("llactr_http_requests_in_flight ") == [1.0], 10, "the last answer to be counted")


@pytest.mark.parametrize("workers", [1, 2])
def test_while_the_service_ends_it_says_so_and_answers_to_the_end(start: Callable[[int], Api], workers: int) -> None:
    api = start(workers)
    api.until_up(workers)
    kept = [api.connection() for _ in range(4)]
    for connection in kept:
        assert api.get("/pid", connection)[2] is False
    with ThreadPoolExecutor(1) as thread:
        slow = thread.submit(api.get, "/pid?seconds=1.5")
        time.sleep(0.2)
        api.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        status, body, will_close = api.get("/readyz", kept[0])
        assert (status, json.loads(body)["code"], will_close) == (503, "unavailable", True)
        assert [api.get("/pid", connection)[::2] for connection in kept[1:]] == [(200, True)] * 3
        assert slow.result(10)[0] == 200
    assert api.process.wait(10) == 0


def test_a_single_process_finishes_what_is_at_work_when_it_hangs_up(
    start: Callable[[int], Api], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRUSTED_PROXIES", '["127.0.0.0/8"]')
    api = start(1)
    api.until_up(1)
    assert api.address() == "192.0.2.7"
    with ThreadPoolExecutor(2) as thread:
        slow, stream = thread.submit(api.get, "/pid?seconds=4.5"), thread.submit(api.get, "/stream")
        time.sleep(0.5)
        api.process.send_signal(signal.SIGHUP)
        assert stream.result(2)[1].endswith("end")
        assert slow.result(10)[0] == 200
    assert api.process.wait(10) == 0


FAKE = """
import os, signal, socket, sys, time
from pathlib import Path
channel = socket.socket(fileno=int(os.environ["LLACTR_API_WORKER"].split(",")[1]))
signal.signal(signal.SIGTERM, signal.SIG_IGN)
while Path(sys.argv[1]).exists():
    time.sleep(0.05)
channel.send(b"r")
channel.recv(1)
"""
PARENT = """
import socket, sys
from services.shared.http import workers
workers.GRACE_S = workers.LEEWAY_S = workers.FIRST_PAUSE_S = 0.2
listener = socket.create_server(("127.0.0.1", 0))
command = [sys.executable, "-S", "-c", sys.argv[1], sys.argv[2]]
sys.exit(workers.Workers(listener, 2, 0.2, command).run())
"""


def test_while_workers_are_renewed_dead_ones_are_replaced_and_those_that_hang_are_killed(tmp_path: Path) -> None:
    slow = tmp_path / "slow"
    parent = subprocess.Popen([sys.executable, "-c", PARENT, FAKE, str(slow)], cwd=ROOT)

    def workers() -> set[int]:
        children = psutil.Process(parent.pid).children()
        return {one.pid for one in children if one.status() != psutil.STATUS_ZOMBIE}

    try:
        wait_until(lambda: len(workers()) == 2, 20, "two workers")
        first = workers()
        time.sleep(1)
        slow.touch()
        parent.send_signal(signal.SIGHUP)
        wait_until(lambda: len(workers()) == 3, 20, "a successor that is not ready yet")
        successor = workers() - first
        os.kill(min(first), signal.SIGKILL)
        wait_until(lambda: len(workers() - first - successor) == 1, 20, "the dead one to be replaced")
        slow.unlink()
        wait_until(lambda: not first & workers() and len(workers()) == 2, 20, "those that hang to be killed")
        parent.send_signal(signal.SIGTERM)
        assert parent.wait(20) == 0
    finally:
        parent.kill()
        parent.wait()


def test_the_workers_of_a_killed_parent_end(start: Callable[[int], Api]) -> None:
    api = start(2)
    workers = api.until_up(2)
    assert api.end(signal.SIGKILL) == -signal.SIGKILL
    wait_until(lambda: not any(psutil.pid_exists(one) for one in workers), 10, "the workers to end")


def test_what_can_never_start_ends_with_its_status(tmp_path: Path, start: Callable[[int], Api]) -> None:
    (tmp_path / "broken").touch()
    assert start(2).process.wait(30) == 7


def test_who_dies_at_its_start_is_tried_again_while_the_others_serve(pair: Api) -> None:
    victim = pair.until_up(2)[0]
    before = pair.log().count("status 7")
    (pair.home / "broken").touch()
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: pair.log().count("status 7") >= before + 2, 30, "two vain starts")
    assert pair.answers()
    (pair.home / "broken").unlink()
    pair.until_up(2)
