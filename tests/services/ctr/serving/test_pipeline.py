"""The way of a request past experiments, stores and onlookers, through the real route, gate and pool."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from starlette.middleware import Middleware
from starlette.testclient import TestClient

from llactr_core.schema import Schema
from services.ctr.formats.decoding import Batch
from services.ctr.registry.store import Registry
from services.ctr.routes.score import score_router
from services.ctr.serving.admission import Admission
from services.ctr.serving.gate import AdmissionGate
from services.ctr.serving.hooks import Filled, Scored
from services.ctr.serving.pipeline import FILLING_THREADS, ScoringPipeline
from services.ctr.serving.pool import ModelPool
from services.ctr.settings import CtrSettings
from services.shared.access.auth import Guard
from services.shared.http.app import create_app
from services.shared.storage.storage import Storage

ROWS = [{"job": "student", "age": 22, "tags": "a|b", "city": "c1"}, {"job": "retired", "city": "c2"}]


class Arms:
    """Gives the key "b" to the challenger, "lost" to an alias that is not there, others to the champion."""

    def __init__(self) -> None:
        self.keys: list[str] = []

    def deals(self, model: str) -> bool:
        return model == "tiny"

    def arm(self, model: str, key: str) -> str | None:
        assert model == "tiny"
        self.keys.append(key)
        return {"b": "challenger", "lost": "nowhere"}.get(key)


class Store:
    """Knows the age of retired people, and no city; answers while `answers` is set."""

    def __init__(self) -> None:
        self.asked, self.answers = threading.Event(), threading.Event()
        self.answers.set()

    def applies(self, schema: Schema) -> bool:
        return schema.name == "tiny"

    def entities(self, schema: Schema) -> list[str]:
        return ["person"]

    def fill(self, schema: Schema, batch: Batch) -> Filled:
        self.asked.set()
        self.answers.wait(10)
        assert not isinstance(batch.features, dict)
        rows: list[Any] = [{**row, "age": 70} if row.get("job") == "retired" else row for row in batch.features]
        return Filled(replace(batch, given=rows), [[f"city={row.get('city')}"] for row in rows])


class Onlooker:
    def __init__(self) -> None:
        self.seen: list[Scored] = []

    def saw(self, scored: Scored) -> None:
        self.seen.append(scored)


@dataclass
class Running:
    client: TestClient
    arms: Arms
    onlooker: Onlooker
    store: Store

    def ask(self, query: str = "", **body: Any) -> Any:
        answer = self.client.post(f"/v1/score{query}", json={"rows": ROWS, **body})
        assert answer.status_code == 200, answer.text
        return answer.json()


@pytest.fixture
def running(
    request: pytest.FixtureRequest,
    settings: CtrSettings,
    storage: Storage,
    registry: Registry,
    publish: Callable[..., str],
) -> Iterator[Running]:
    publish("llactr", alias="champion")
    publish("none", alias="challenger")
    settings = settings.model_copy(update=getattr(request, "param", {}))
    pool, guard, admission = ModelPool(registry), Guard(storage, settings), Admission(settings)
    pool.refresh()
    arms, onlooker, store = Arms(), Onlooker(), Store()
    pipeline = ScoringPipeline(pool, settings, guard, routing=arms, filling=store, watching=[onlooker])
    app = create_app("test", settings, [score_router(pipeline, settings, guard)])
    app.user_middleware.append(Middleware(AdmissionGate, admission=admission))
    with TestClient(app) as client:
        yield Running(client, arms, onlooker, store)
    pipeline.close()
    admission.close()


FILLED = [ROWS[0], {**ROWS[1], "age": 70}]


def test_the_arm_answers_and_is_named(running: Running, scorers: dict[str, Any]) -> None:
    content = running.ask(routing_key="b")
    assert (content["arm"], content["model"]["version"]) == ("challenger", scorers["none"].version)
    np.testing.assert_allclose(content["scores"], scorers["none"].score(FILLED), rtol=0, atol=1e-6)
    content = running.ask("?routing_key=c", routing_key="b")
    assert "arm" not in content
    assert content["model"]["version"] == scorers["llactr"].version
    running.ask()
    assert running.arms.keys == ["b", "c", "student"]


def test_who_names_a_version_or_an_alias_has_chosen_already(running: Running, scorers: dict[str, Any]) -> None:
    for reference in (f"tiny:{scorers['llactr'].version}", "tiny@champion"):
        content = running.ask(f"?model={reference}", routing_key="b")
        assert "arm" not in content
        assert content["model"]["version"] == scorers["llactr"].version
    assert running.ask("?model=tiny", routing_key="b")["arm"] == "challenger"


def test_an_arm_that_cannot_be_loaded_leaves_the_champion(running: Running, scorers: dict[str, Any]) -> None:
    content = running.ask(routing_key="lost")
    assert "arm" not in content
    assert content["model"]["version"] == scorers["llactr"].version


def test_without_a_key_the_requests_id_decides(running: Running) -> None:
    answer = running.client.post("/v1/score", json={"rows": []}, headers={"X-Request-Id": "b"})
    assert answer.json()["arm"] == "challenger"


@pytest.mark.parametrize("running", [{}, {"inline_rows": 0}], indirect=True, ids=["loop", "thread"])
def test_features_are_filled_in_and_absent_entities_reported(running: Running, scorers: dict[str, Any]) -> None:
    content = running.ask("?details=true")
    np.testing.assert_allclose(content["scores"], scorers["llactr"].score(FILLED), rtol=0, atol=1e-6)
    assert [row["absent"] for row in content["details"]] == [["city=c1"], ["city=c2"]]
    assert "age" not in content["details"][1]["missing"]


def test_the_columns_of_entities_are_not_reported_as_extra(running: Running) -> None:
    content = running.ask("?details=true", rows=[{**ROWS[0], "person": 7, "colour": "red"}])
    assert content["details"][0]["extra"] == ["colour"]


def test_onlookers_see_what_was_answered_but_no_raw_scores(running: Running) -> None:
    content = running.ask(rows=[{**ROWS[0], "row_id": "r1"}])
    [scored] = running.onlooker.seen
    assert scored.scores.tolist() == content["scores"]
    assert (scored.request_id, scored.row_ids, scored.size > 0) == (content["request_id"], ["r1"], True)
    running.ask("?raw=true")
    assert len(running.onlooker.seen) == 1


@pytest.mark.parametrize("running", [{"queue_requests": 1}], indirect=True, ids=["one"])
def test_refused_requests_are_problems_with_an_id_and_a_time_to_retry(running: Running) -> None:
    running.store.answers.clear()
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(running.ask)
        assert running.store.asked.wait(10)
        answer = running.client.post("/v1/score", json={"rows": ROWS}, headers={"X-Request-Id": "mine"})
        running.store.answers.set()
        assert len(first.result(10)["scores"]) == 2
    assert (answer.status_code, answer.json()["code"]) == (503, "overloaded")
    assert int(answer.headers["retry-after"]) >= 1
    assert answer.headers["x-request-id"] == "mine"
    assert running.client.get("/healthz").status_code == 200
    running.ask()


@pytest.mark.parametrize("running", [{}, {"inline_rows": 0}], indirect=True, ids=["loop", "thread"])
def test_a_deadline_that_passes_while_the_store_is_asked_is_504_at_once(running: Running) -> None:
    running.store.answers.clear()
    began = time.monotonic()
    answer = running.client.post("/v1/score", json={"rows": ROWS}, headers={"X-Timeout-Ms": "50"})
    assert (answer.status_code, answer.json()["code"]) == (504, "deadline-exceeded")
    assert running.onlooker.seen == []
    assert time.monotonic() - began < 2
    running.store.answers.set()


def test_a_store_that_hangs_holds_up_nobody_who_needs_a_model_loaded(
    running: Running, publish: Callable[..., str]
) -> None:
    publish("none", model="other", alias="candidate")
    running.store.answers.clear()
    with ThreadPoolExecutor(FILLING_THREADS + 1) as threads:
        hanging = [threads.submit(running.ask) for _ in range(FILLING_THREADS + 1)]
        assert running.store.asked.wait(10)
        answer = running.client.post("/v1/score?model=other@nowhere", json={"rows": ROWS})
        assert answer.status_code == 404
        assert not any(one.done() for one in hanging)
        running.store.answers.set()
        assert all(len(one.result(10)["scores"]) == 2 for one in hanging)


def test_names_that_are_not_known_are_503_soon_where_the_database_hangs_and_arms_need_none(
    running: Running, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = threading.Event()
    for method in ("aliases", "get", "versions"):
        monkeypatch.setattr(registry, method, lambda *_: answers.wait(20))
    began = time.monotonic()

    def ask(reference: str) -> tuple[int, str]:
        answer = running.client.post("/v1/score", params={"model": reference}, json={"rows": ROWS})
        return answer.status_code, answer.json()["code"]

    with ThreadPoolExecutor(3) as threads:
        assert set(threads.map(ask, ("nobody", "tiny@nobody", "tiny:nothing"))) == {(503, "unavailable")}
    assert time.monotonic() - began < 5
    assert "arm" not in running.ask(routing_key="lost")
    assert running.ask(routing_key="b")["arm"] == "challenger"
    answers.set()
