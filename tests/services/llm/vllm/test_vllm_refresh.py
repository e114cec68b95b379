"""A refresh by a worker that owns a vLLM server: tuning and serving take turns, and nothing outlives the worker."""

import signal
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import psutil
import pytest

from llactr_core.schema import Schema
from llactr_core.semantics.build import build_field_table
from llactr_core.semantics.options import SsftOptions

SAMPLES = {
    "user_gender": ["F", "M", "X"],
    "movie_genre": ["Comedy", "Drama", "Noir", "War"],
    "zip": ["94110", "10001", "7"],
}
SSFT = {"epochs": 2, "batch_size": 4, "learning_rate": 0.01, "rank": 4, "held_out": 0, "precision": "float32"}


@pytest.fixture
def house(
    new_house: Callable[[], Any],
    tiny_qwen: Path,
    vllm_variables: dict[str, str],
    free_port: Callable[[], int],
    monkeypatch: pytest.MonkeyPatch,
) -> Any:
    port = free_port()
    for name, value in {**vllm_variables, "LLACTR_LLM_VLLM_PORT": str(port)}.items():
        monkeypatch.setenv(name, value)
    made = new_house()
    made.model, made.vllm_port = tiny_qwen, port
    made.start("api")
    return made


def serving(house: Any) -> list[psutil.Process]:
    """The processes of the house's vLLM server: the program, and all that are in its group."""
    listed = [process for process in psutil.process_iter(["pid", "cmdline"]) if process.info["cmdline"]]
    heads = [one for one in listed if str(house.vllm_port) in one.info["cmdline"] and "serve" in one.info["cmdline"]]
    found = {child for head in heads for child in [head, *head.children(recursive=True)]}
    return [process for process in found if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]


def embed(house: Any, text: str, **more: str) -> httpx2.Response:
    return house.admin.post("/v1/embeddings", json={"input": text, **more})


def lives(house: Any) -> bool:
    try:
        return house.anyone.get("/healthz").status_code == 200
    except httpx2.TransportError:
        return False


@pytest.mark.timeout(900)
def test_a_refresh_takes_turns_with_serving(house: Any, wait_for: Callable[..., None]) -> None:
    wait_for(lambda: lives(house), 60, "the API to live")
    assert house.anyone.get("/readyz").status_code == 503
    worker = house.start("worker")
    wait_for(lambda: embed(house, "known").status_code == 200, 300, "vLLM to serve the API")
    known = embed(house, "known").json()

    house.register("turns")
    job_id = house.refresh("turns", samples=SAMPLES, ssft=SSFT).json()["job"]["id"]
    texts = (f"unknown text {number}" for number in count())
    answers: list[httpx2.Response] = []

    def rests() -> bool:
        answers.append(embed(house, next(texts)))
        return answers[-1].status_code == 503

    wait_for(rests, 60, "the engine to rest")
    assert answers[-1].json()["code"] == "unavailable"
    assert int(answers[-1].headers["retry-after"]) > 0
    assert embed(house, "known").json() == known  # from the cache
    job = house.finished(job_id, 400)
    assert job["state"] == "succeeded", job

    table = house.anyone.get("/v1/fields/turns").json()
    fields = house.anyone.get("/v1/schemas/turns").json()["fields"]
    schema = Schema.model_validate({"name": "turns", "fields": fields})
    expected = build_field_table(schema, SAMPLES, str(house.model), SsftOptions(**SSFT))
    difference = np.abs(np.array(table["vectors"]) - expected.vectors).max()
    print(f"\na refresh through the worker: largest difference to the transformers engine {difference:.1e}")
    assert difference < 1e-5
    assert expected.metrics["best_epoch"] > 0
    with_version = embed(house, "gender of the user", version=table["version"]).json()["data"][0]["embedding"]
    np.testing.assert_allclose(with_version, expected.vectors[0], atol=1e-5)

    processes = serving(house)
    assert len(processes) >= 2  # the server and its engine
    worker.send_signal(signal.SIGKILL)
    wait_for(lambda: not any(alive(process) for process in processes), 15, "vLLM to end after its worker")
    assert not serving(house)
    assert embed(house, "known").json() == known


def alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
