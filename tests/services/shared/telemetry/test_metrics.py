"""What is counted, and what GET /metrics answers, also while the storage is away."""

import socket
import time
from collections.abc import Iterator

import pytest
from fastapi import APIRouter
from prometheus_client import CollectorRegistry, generate_latest
from pydantic import SecretStr
from starlette.testclient import TestClient

from services.shared.access.auth import Guard
from services.shared.http.app import create_app
from services.shared.jobs.store import JobStore
from services.shared.settings import ServiceSettings
from services.shared.storage.storage import Storage
from services.shared.telemetry import metrics
from services.shared.telemetry.metric_routes import metric_router


def value(name: str, **labels: str) -> float:
    return metrics.REGISTRY.get_sample_value(name, labels) or 0.0


def client_on(storage: Storage, settings: ServiceSettings) -> TestClient:
    router = APIRouter(prefix="/v1/things")

    @router.post("/{thing}")
    def make(thing: str, body: dict[str, str]) -> str:
        return body[thing]

    return TestClient(
        create_app("test", settings, [router, metric_router(storage, Guard(storage, settings))]),
        raise_server_exceptions=False,
    )


@pytest.fixture
def client(storage: Storage, settings: ServiceSettings) -> Iterator[TestClient]:
    with client_on(storage, settings) as opened:
        yield opened


def test_every_metric_is_ours_and_explained() -> None:
    described = list(metrics.described())
    names = [name for name, *_ in described]
    assert len(names) == len(set(names)) > 20
    for name, kind, labels, meaning in described:
        assert name.startswith("llactr_"), name
        assert (kind == "counter") is name.endswith("_total"), name
        assert meaning.endswith("."), name
        assert len(labels) <= 3, name
    shown = {family.name for family in metrics.REGISTRY.collect() if not family.name.startswith("process_")}
    once_set = {"llactr_storage_up", "llactr_worker_heartbeat_timestamp_seconds"}
    assert shown | once_set == {name.removesuffix("_total") for name in names}


def test_a_gauge_that_was_never_set_is_absent() -> None:
    registry = CollectorRegistry(auto_describe=True)
    gauge = metrics.GaugeOnceSet("seen", "When.", registry=registry)
    assert b"seen " not in generate_latest(registry)
    gauge.set(0)
    assert b"seen 0.0" in generate_latest(registry)


def test_requests_are_counted_by_template_and_class(client: TestClient) -> None:
    route = "/v1/things/{thing}"
    before = {
        status: value("llactr_http_requests_total", method="POST", route=route, status=status)
        for status in ("2xx", "5xx")
    }
    read = value("llactr_http_request_bytes_sum", route=route)
    assert client.post("/v1/things/a", json={"a": "b" * 100}).status_code == 200
    assert client.post("/v1/things/b", json={"a": "b"}).status_code == 500
    for status, count in before.items():
        assert value("llactr_http_requests_total", method="POST", route=route, status=status) == count + 1
    assert value("llactr_http_request_bytes_sum", route=route) == read + len('{"a":"' + "b" * 100 + '"}') + len(
        '{"a":"b"}'
    )
    assert value("llactr_http_request_seconds_count", method="POST", route=route) >= 2
    assert value("llactr_http_requests_in_flight") == 0


def test_what_callers_invent_makes_no_label(client: TestClient) -> None:
    for number in range(3):
        client.request("BREW", f"/nothing/{number}")
        client.get(f"/v1/unknown/{number}")
    text = client.get("/metrics").text
    assert "nothing" not in text
    assert "BREW" not in text
    assert 'method="other",route="unknown",status="4xx"' in text


def test_jobs_are_counted_by_state(client: TestClient, store: JobStore) -> None:
    first = store.submit("train", {"n": 1})
    store.submit("train", {"n": 2})
    store.cancel(first.id)
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    assert 'llactr_jobs{state="queued"} 1.0' in answer.text
    assert 'llactr_jobs{state="cancelled"} 1.0' in answer.text
    assert 'llactr_jobs{state="running"} 0.0' in answer.text
    assert "llactr_storage_up 1.0" in answer.text
    assert "process_resident_memory_bytes" in answer.text


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A server that takes connections and never says a word."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


@pytest.mark.parametrize("listens", [False, True])
def test_it_answers_while_the_storage_does_not(
    settings: ServiceSettings, client: TestClient, silent_port: int, listens: bool
) -> None:
    assert "llactr_jobs{" in client.get("/metrics").text
    away = Storage(f"postgresql+psycopg://nobody@127.0.0.1:{silent_port if listens else 1}/none?connect_timeout=2")
    with client_on(away, settings) as cut_off:
        started = time.monotonic()
        answer = cut_off.get("/metrics")
        seconds = time.monotonic() - started
    assert answer.status_code == 200
    assert "llactr_storage_up 0.0" in answer.text
    assert "llactr_jobs{" not in answer.text
    assert seconds < 2.0


def test_a_key_is_asked_for_as_for_every_reading(storage: Storage, settings: ServiceSettings) -> None:
    closed = settings.model_copy(update={"require_key_to_read": True, "database_url": SecretStr("sqlite://")})
    key = settings.key_file.read_text(encoding="utf-8").strip()
    with client_on(storage, closed) as guarded:
        assert guarded.get("/metrics").status_code == 401
        assert guarded.get("/metrics", headers={"Authorization": f"Bearer {key}"}).status_code == 200
