"""Scoring rows that name only their entity."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from servers import Redis, wait_until
from starlette.testclient import TestClient

from services.ctr.app import build_app
from services.ctr.settings import CtrSettings
from services.shared.access.auth import ensure_admin_key

PERSON = {"job": "student", "age": "30", "tags": "a|b", "city": "c1"}


@pytest.fixture
def client(
    settings: CtrSettings, publish: Callable[..., str], redis_server: Redis, tmp_path: Path
) -> Iterator[TestClient]:
    with redis.Redis.from_url(redis_server.url) as store:
        store.hset("person:7", mapping=PERSON)
    source = f'{{url: "{redis_server.url}", prefix: "person:"}}'
    (tmp_path / "lookups.yaml").write_text(f"timeout_ms: 1000\nschemas: {{tiny: [{{entity: id, redis: {source}}}]}}\n")
    publish("llactr", alias="champion")
    ensure_admin_key(settings.key_file)
    with TestClient(build_app(settings.model_copy(update={"lookups": tmp_path / "lookups.yaml"}))) as client:
        wait_until(lambda: client.get("/readyz").status_code == 200, 10, "the champion to be loaded")
        yield client


def test_a_row_with_only_its_entity_scores_like_the_whole_row(client: TestClient) -> None:
    rows = [{"id": 7}, PERSON, {"id": 7, "job": "admin"}, {**PERSON, "job": "admin"}]
    scores = client.post("/v1/score", json={"rows": rows}).json()["scores"]
    assert scores[0] == pytest.approx(scores[1], abs=1e-9)
    assert scores[2] == pytest.approx(scores[3], abs=1e-9)
    assert abs(scores[0] - scores[2]) > 1e-3


def test_an_unknown_entity_is_reported_and_scored(client: TestClient) -> None:
    answer = client.post("/v1/score?details=true", json={"rows": [{"id": 7}, {"id": 8}]}).json()
    assert [row["absent"] for row in answer["details"]] == [[], ["id=8"]]
    assert answer["details"][1]["missing"] == ["job", "age", "tags", "city"]
