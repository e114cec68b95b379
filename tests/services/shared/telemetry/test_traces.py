"""Traces inside one process: from a request over the job's row to what the handler calls; and when nobody listens."""

import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from collector import Collector
from fastapi import APIRouter
from starlette.testclient import TestClient

from llactr_core.errors import OptionError
from llactr_core.progress import Progress
from services.shared.http.app import create_app
from services.shared.jobs.context import Handler, JobContext
from services.shared.jobs.store import JobStore
from services.shared.jobs.worker import run_worker
from services.shared.settings import ServiceSettings
from services.shared.telemetry import traces
from services.shared.telemetry.logs import JsonFormatter

TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
GIVEN = f"00-{TRACE}-{CALLER}-01"


@pytest.fixture
def collector() -> Iterator[Collector]:
    listening = Collector()
    traces.configure_tracing("test", listening.url)
    yield listening
    traces.close_tracing()
    listening.close()


@pytest.fixture
def client(store: JobStore, settings: ServiceSettings) -> Iterator[TestClient]:
    router = APIRouter()

    @router.post("/jobs/{kind}")
    def submit(kind: str) -> str:
        return store.submit(kind, {}, traceparent=traces.traceparent()).id

    @router.get("/broken")
    def broken() -> None:
        raise KeyError

    with TestClient(create_app("test", settings, [router]), raise_server_exceptions=False) as opened:
        yield opened


@pytest.fixture
def work(store: JobStore, settings: ServiceSettings) -> Callable[[dict[str, Handler], str], str]:
    """Does a job in a worker of this process, and gives its state."""

    def run(handlers: dict[str, Handler], job_id: str) -> str:
        stop = threading.Event()
        worker = threading.Thread(target=run_worker, args=(store, handlers, settings, stop))
        worker.start()
        end = time.monotonic() + 20
        while not store.peek(job_id).is_final and time.monotonic() < end:
            time.sleep(0.02)
        stop.set()
        worker.join()
        return store.peek(job_id).state.value

    return run


def test_what_a_handler_calls_belongs_to_the_trace_of_the_request(
    collector: Collector, client: TestClient, work: Callable[[dict[str, Handler], str], str]
) -> None:
    handed_on = []

    def refresh(context: JobContext) -> dict[str, object]:
        handed_on.append(traces.traceparent())
        for stage in ("draw samples", "tuning: draw", "tuning: embed"):
            context.report(Progress(stage, 0.5))
            handed_on.append(traces.traceparent())
        return {}

    job_id = client.post("/jobs/refresh", headers={"traceparent": GIVEN}).json()
    assert work({"refresh": refresh}, job_id) == "succeeded"
    traces.close_tracing()
    [request], [job] = collector.named("POST /jobs/{kind}"), collector.named("job refresh")
    [draw], [tune] = collector.named("draw samples"), collector.named("tuning")
    assert (request.parent, job.parent, draw.parent, tune.parent) == (CALLER, request.id, job.id, job.id)
    assert {span.trace for span in collector.spans} == {TRACE}
    assert handed_on == [f"00-{TRACE}-{span.id}-01" for span in (job, draw, tune, tune)]


def test_what_failed_is_marked(
    collector: Collector, client: TestClient, work: Callable[[dict[str, Handler], str], str]
) -> None:
    def refuse(_context: JobContext) -> dict[str, object]:
        raise OptionError("no such option")

    assert client.get("/broken").status_code == 500
    assert work({"train": refuse}, client.post("/jobs/train").json()) == "failed"
    traces.close_tracing()
    failed = {span.name for span in collector.spans if span.failed}
    assert failed == {"GET /broken", "job train"}
    assert collector.named("job train")[0].attributes["llactr.outcome"] == "failed"


def test_without_an_endpoint_a_trace_is_handed_on_and_none_is_made(client: TestClient, store: JobStore) -> None:
    traced = client.post("/jobs/a", headers={"traceparent": GIVEN}).json()
    plain = client.post("/jobs/b").json()
    assert store.peek(traced).traceparent == GIVEN
    assert store.peek(plain).traceparent is None


def test_the_lines_of_a_traced_request_name_it(client: TestClient) -> None:
    lines: list[dict[str, object]] = []

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(json.loads(JsonFormatter("test").format(record)))

    handler, access = Kept(), logging.getLogger("services.access")
    access.addHandler(handler)
    access.setLevel(logging.INFO)
    client.post("/jobs/a", headers={"traceparent": GIVEN})
    client.post("/jobs/a")
    access.removeHandler(handler)
    access.setLevel(logging.NOTSET)
    assert [line.get("trace_id") for line in lines] == [TRACE, None]
    assert [line.get("span_id") for line in lines] == [CALLER, None]


@pytest.mark.parametrize(
    "given", ["garbage", f"00-{'0' * 32}-{CALLER}-01", "ü" * 300, "0" * 9000, f"ff-{TRACE}-{CALLER}-01"]
)
def test_a_header_that_is_no_trace_is_passed_over(client: TestClient, store: JobStore, given: str) -> None:
    answer = client.post("/jobs/a", headers={"traceparent": given.encode()})
    assert answer.status_code == 200
    assert store.peek(answer.json()).traceparent is None


def test_a_collector_that_does_not_answer_keeps_no_process_from_ending(client: TestClient) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        traces.configure_tracing("test", f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert client.post("/jobs/a").status_code == 200
        started = time.monotonic()
        traces.close_tracing()
        assert time.monotonic() - started < 3.0
