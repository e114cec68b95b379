"""Requests drawn from the OpenAPI document, and hostile bodies, to a real process: no 5xx but by the rules."""

import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import hostile
import httpx2
import pytest
from ctr_house import CtrHouse
from fuzzing import Fuzzer

from llactr_core.bundle import Bundle

ROWS = {"rows": [{"job": "student", "age": 20}]}
BY_THE_RULES = {503, 504}
GROWTH_MIB = 200


@pytest.fixture
def house(tmp_path: Path, bundles: dict[str, Bundle]) -> Iterator[CtrHouse]:
    """A champion with field semantics, and a second version; a machine that is busy with other tests refuses nobody."""
    house = CtrHouse(tmp_path / "home", extra={"LLACTR_CTR_QUEUE_MS": "60000"})
    house.publish(bundles["none"], "tiny", alias="challenger")
    house.publish(bundles["llactr"], "tiny")
    house.start()
    try:
        house.until_ready()
        yield house
    finally:
        house.stop()


def score(house: CtrHouse) -> float:
    answer = house.anyone.post("/v1/score", params={"model": "tiny"}, json=ROWS)
    return float(answer.raise_for_status().json()["scores"][0])


def peak_mib(house: CtrHouse) -> float:
    """The most memory that the process has had so far."""
    status = Path(f"/proc/{house.processes[0].pid}/status").read_text()
    [line] = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) / 1024


@pytest.mark.timeout(900)
@pytest.mark.parametrize("count", [150, pytest.param(7_000, marks=pytest.mark.long)])
def test_no_request_of_the_documents_breaks_the_service(
    house: CtrHouse, bundles: dict[str, Bundle], count: int
) -> None:
    expected, before = score(house), peak_mib(house)
    known = {"model": "tiny", "version": bundles["none"].version, "alias": "mine"}
    fuzzer = Fuzzer(house.url, house.key, known, left_out={"/v1/jobs/{job_id}/events"}, late=BY_THE_RULES)
    fuzzer.run(count)
    grown = peak_mib(house) - before
    print(f"memory grew by {grown:.0f} MiB")
    assert fuzzer.answers.total() >= count
    assert fuzzer.answers[200] > count // 10
    assert grown < GROWTH_MIB
    assert score(house) == expected


@pytest.mark.timeout(900)
@pytest.mark.parametrize("count", [250, pytest.param(3_000, marks=pytest.mark.long)])
def test_no_body_breaks_the_service(house: CtrHouse, count: int) -> None:
    expected, before = score(house), peak_mib(house)
    chance = random.Random(20261123)
    answers: Counter[int] = Counter()
    for number in range(count):
        request = hostile.draw(chance, "tiny")
        answer = house.anyone.post(request.path, content=request.body, headers=request.headers)
        answers[answer.status_code] += 1
        assert answer.status_code < 500 or answer.status_code in BY_THE_RULES, (number, request.headers, answer.text)
        check_refusal(request.path, answer)
    grown = peak_mib(house) - before
    print(f"{count} bodies: {dict(sorted(answers.items()))}; memory grew by {grown:.0f} MiB")
    assert {200, 400, 415, 422} <= answers.keys()
    assert grown < GROWTH_MIB
    assert score(house) == expected


def check_refusal(path: str, answer: httpx2.Response) -> None:
    if answer.status_code < 400:
        return
    content = answer.json()
    if path.startswith("/v2/"):
        assert content["error"]
    else:
        assert answer.headers["content-type"] == "application/problem+json"
        assert content["status"] == answer.status_code
        assert content["code"]
        assert content["detail"]
