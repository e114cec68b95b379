"""One refresh, seen from outside: its trace at a collector, the lines of both processes' logs, the worker's metrics."""

import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from collector import Collector, Seen
from prometheus_client.parser import text_string_to_metric_families
from servers import free_port

from services.shared.telemetry.logs import KEYS

ROOT = Path(__file__).parents[4]
TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLES = {"user_gender": ["F", "M"], "movie_genre": ["Comedy", "Drama", "Noir", "War"], "zip": ["94110", "10001", "7"]}
TINY = {"epochs": 1, "batch_size": 4, "rank": 2, "alpha": 4}
REFRESH = "POST /v1/admin/fields/{schema}/refresh"


@dataclass
class Scene:
    """What a refresh by a caller who has a trace of its own left behind."""

    collector: Collector
    house: Any
    job_id: str
    metrics: str
    api_metrics: str

    def log(self, process: str) -> list[dict[str, Any]]:
        lines = (self.house.home / f"{process}.log").read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines]

    def one(self, name: str) -> Seen:
        [span] = self.collector.named(name)
        return span


@pytest.fixture(scope="module")
def scene(new_house: Any, wait_for: Any) -> Iterator[Scene]:
    collector, port = Collector(), free_port()
    house = new_house()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        patch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
        patch.setenv("LLACTR_LLM_WORKER_METRICS_PORT", str(port))
        house.start("api")
        house.start("worker")
    house.until_ready()
    house.register("movies")
    answer = house.admin.post(
        "/v1/admin/fields/movies/refresh",
        json={"samples": SAMPLES, "ssft": TINY},
        headers={"traceparent": f"00-{TRACE}-{CALLER}-01", "X-Request-Id": "mine"},
    ).raise_for_status()
    job_id = answer.json()["job"]["id"]
    assert house.finished(job_id)["state"] == "succeeded"
    wait_for(lambda: bool(collector.named("job refresh")), 10, "the job's span")
    worker = httpx2.get(f"http://127.0.0.1:{port}/metrics").raise_for_status().text
    api = house.anyone.get("/metrics").raise_for_status().text
    yield Scene(collector, house, job_id, worker, api)
    collector.close()


def test_one_trace_leads_from_the_call_to_the_workers_stages(scene: Scene) -> None:
    request, job = scene.one(REFRESH), scene.one("job refresh")
    assert (request.trace, request.parent, request.service) == (TRACE, CALLER, "llactr-llm-api")
    assert (job.trace, job.parent, job.service) == (TRACE, request.id, "llactr-llm-worker")
    assert request.attributes["llactr.request_id"] == "mine"
    assert request.attributes["http.response.status_code"] == 202
    assert job.attributes["llactr.job_id"] == scene.job_id
    assert job.attributes["llactr.outcome"] == "succeeded"
    stages = {span.name for span in scene.collector.spans if span.parent == job.id and span.trace == TRACE}
    assert "publish" in stages
    assert any(stage.startswith("tune") for stage in stages), stages
    assert not any(span.failed for span in scene.collector.spans)


def test_calls_without_a_trace_begin_one_each_and_probes_none(scene: Scene) -> None:
    polls = scene.collector.named("GET /v1/jobs/{job_id}")
    assert len({span.trace for span in polls}) == len(polls) > 0
    assert {span.parent for span in polls} == {""}
    assert not any("readyz" in span.name for span in scene.collector.spans)


def test_every_line_of_the_logs_is_an_object_of_documented_keys(scene: Scene) -> None:
    for process in ("api", "worker"):
        lines = scene.log(process)
        assert lines
        for line in lines:
            assert line.keys() <= KEYS.keys(), line
            assert {"time", "level", "service", "logger", "message"} <= line.keys()
            assert line["service"] == f"llm-{process}"


def test_a_log_line_names_the_request_the_job_and_the_trace(scene: Scene) -> None:
    [access] = [line for line in scene.log("api") if line.get("request_id") == "mine" and "ms" in line]
    assert (access["trace_id"], access["span_id"]) == (TRACE, scene.one(REFRESH).id)
    done = [line for line in scene.log("worker") if line.get("job_id") == scene.job_id]
    assert len(done) >= 2
    assert {line["trace_id"] for line in done} == {TRACE}


def test_the_worker_shows_what_it_did(scene: Scene) -> None:
    assert 'llactr_job_attempts_ended_total{kind="refresh",outcome="succeeded"} 1.0' in scene.metrics
    assert 'llactr_job_queue_seconds_count{kind="refresh"} 1.0' in scene.metrics
    assert "llactr_worker_heartbeat_timestamp_seconds" in scene.metrics
    assert "process_cpu_seconds_total" in scene.metrics


def test_no_documented_alert_on_a_gauge_is_raised_where_all_is_well(scene: Scene) -> None:
    page = (ROOT / "docs" / "telemetry.md").read_text(encoding="utf-8")
    rules = re.findall(r"(?m)expr: (time\(\) - )?(llactr_\w+)(?:\{state=\"(\w+)\"\})? (==|>) (\d+)$", page)
    assert len(rules) == 3
    for since, name, state, comparison, limit in rules:
        values = [
            time.time() - sample.value if since else sample.value
            for scrape in (scene.metrics, scene.api_metrics)
            for family in text_string_to_metric_families(scrape)
            for sample in family.samples
            if sample.name == name and sample.labels.get("state", "") == state
        ]
        assert len(values) == 1, f"{name} is shown by one of the two processes"
        assert not (values[0] == float(limit) if comparison == "==" else values[0] > float(limit)), name
