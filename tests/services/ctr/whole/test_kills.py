"""kill -9 of the worker in the stages of a refresh: one version, one promotion at most, and scoring never stops."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ctr_house import CtrHouse
from scored import Caller
from servers import wait_until

from llactr_core.bundle import Bundle
from llactr_core.scorer import Scorer

STAGES = {
    "tune": "tuning the field semantics",
    "pull": "pulling the field table",
    "train": "training, epoch",
    "publish": "publishing the bundle",
    "judge": "judging the version",
}
ENDLESS = 10**9


@pytest.fixture
def house(tmp_path: Path, dataset: Path, bundles: dict[str, Bundle], llm: Any) -> Iterator[CtrHouse]:
    """An API whose champion can be refreshed; the worker is started by the tests."""
    extra = {
        "LLACTR_CTR_LLM_URL": llm.url,
        "LLACTR_CTR_LLM_KEY": "secret",
        "LLACTR_CTR_DATA_ROOTS": json.dumps([str(dataset.parent)]),
        "LLACTR_CTR_MAX_ATTEMPTS": "30",
        "LLACTR_CTR_QUEUE_MS": "60000",
    }
    house = CtrHouse(tmp_path / "home", extra=extra)
    lineage = {"dataset": str(dataset), "enhancer": "llactr", "table_version": "current"}
    house.publish(bundles["llactr"], "tiny", lineage=lineage)
    house.start()
    try:
        house.until_ready()
        yield house
    finally:
        house.stop()


def job_of(house: CtrHouse, job_id: str) -> dict[str, Any]:
    return dict(house.admin.get(f"/v1/jobs/{job_id}").raise_for_status().json())


def ended(job: dict[str, Any]) -> bool:
    return job["state"] in ("succeeded", "failed", "cancelled")


def kill_in(house: CtrHouse, job_id: str, stage: str) -> bool:
    """Start a worker and kill it when its attempt at the job is in this stage; whether the job went on from there."""
    attempts = job_of(house, job_id)["attempts"]
    worker = house.start("worker")
    end = time.monotonic() + 90
    while not (ended(job := job_of(house, job_id)) or (job["attempts"] > attempts and job["stage"].startswith(stage))):
        assert time.monotonic() < end, job
        time.sleep(0.005)
    worker.kill()
    worker.wait()
    return not ended(job_of(house, job_id))


@pytest.mark.timeout(400)
@pytest.mark.parametrize("stages", [["tune", "train"], pytest.param(list(STAGES), marks=pytest.mark.long)], ids=len)
def test_killed_in_every_stage_the_refresh_is_done_once(
    house: CtrHouse, llm: Any, bundles: dict[str, Bundle], stages: list[str]
) -> None:
    old, killed = bundles["llactr"].version, 0
    with Caller(house.url) as caller:
        body = {"model": "tiny", "options": {"epochs": 30}}
        job_id = house.admin.post("/v1/admin/refresh", json=body).raise_for_status().json()["job"]["id"]
        for stage in stages:
            llm.polls_to_end = ENDLESS if stage == "tune" else 2
            killed += kill_in(house, job_id, STAGES[stage])
        llm.polls_to_end = 2
        house.start("worker")
        wait_until(lambda: ended(job_of(house, job_id)), 120, "the job to end")
        time.sleep(1.0)  # the API looks at the aliases
    job = job_of(house, job_id)
    assert job["state"] == "succeeded", job
    new = job["result"]["new"]["version"]
    champion = new if job["result"]["promoted"] else old
    [model] = house.admin.get("/v1/models").json()["models"]
    assert model["versions"] == [new, old]
    assert model["aliases"]["champion"] == champion
    history = house.admin.get("/v1/models/tiny/history").json()["decisions"]
    moves = [one for one in history if (one["alias"], one["version"], one["outcome"]) == ("champion", new, "moved")]
    assert len(moves) == (champion == new)
    assert llm.count("POST", "/refresh") <= 1 + killed
    assert len(llm.jobs) == 1
    folder = house.home / "ctr" / "bundles"
    assert caller.wrong({version: Scorer.load(folder / version) for version in (old, new)}) == []
    assert caller.versions == ([old, new] if champion == new else [old])
    print(f"{killed} kills of {len(stages)} stages, {job['attempts']} attempts, {len(caller.answers)} answers")
    assert killed >= 2
