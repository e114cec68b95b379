"""A deadline bounds a call with all its tries, and the service hears of it."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest
from llactr_client import ApiError, AsyncClient, Client, ConnectionFailed, DeadlineExceeded, Retry
from llactr_client.deadline import Deadline, Timeouts, timely

ANSWER = {"scores": [0.5], "model": {"name": "m", "version": "v"}, "request_id": "r"}
Score = Callable[..., object]


def sync_score(url: str, **more: Any) -> object:
    with Client(url, retry=Retry(attempts=50, first_s=0.01)) as client:
        return client.score([{}], **more)


def async_score(url: str, **more: Any) -> object:
    async def run() -> object:
        async with AsyncClient(url, retry=Retry(attempts=50, first_s=0.01)) as client:
            return await client.score([{}], **more)

    return asyncio.run(run())


@pytest.fixture(params=[sync_score, async_score], ids=["sync", "async"])
def score(request: pytest.FixtureRequest) -> Score:
    given: Score = request.param
    return given


def test_the_service_is_told_what_is_left_at_each_try(service: Any, score: Score) -> None:
    service.answer("/v1/score", {"code": "overloaded"}, 503)
    service.answer("/v1/score", {"code": "overloaded"}, 503, retry_after="1")
    service.answer("/v1/score", ANSWER)
    score(service.url, deadline_s=5)
    told = [int(asked.headers["x-timeout-ms"]) for asked in service.asked]
    assert 5000 >= told[0] >= told[1] > told[2] + 900
    score(service.url)
    assert "x-timeout-ms" not in service.asked[-1].headers


def test_an_answer_that_comes_too_late(service: Any, score: Score) -> None:
    service.answer("/v1/score", ANSWER, wait_s=1.0)
    started = time.monotonic()
    with pytest.raises(DeadlineExceeded, match="POST /v1/score before the deadline"):
        score(service.url, deadline_s=0.2)
    assert time.monotonic() - started < 0.8


def test_no_try_begins_that_could_not_end(service: Any, score: Score) -> None:
    """A pause that is longer than what is left is not made: the refusal is told at once."""
    service.answer("/v1/score", {"detail": "too much", "code": "overloaded"}, 503, retry_after="3")
    started = time.monotonic()
    with pytest.raises(ApiError, match="too much"):
        score(service.url, deadline_s=1)
    assert time.monotonic() - started < 0.8
    assert len(service.asked) == 1


def test_work_that_the_service_dropped_was_too_late(service: Any, score: Score) -> None:
    service.answer("/v1/score", {"detail": "dropped", "code": "deadline-exceeded"}, 504)
    with pytest.raises(DeadlineExceeded):
        score(service.url, deadline_s=5)
    with pytest.raises(ApiError, match="dropped"):
        score(service.url)


def test_nobody_answers_in_time() -> None:
    with Client("http://127.0.0.1:9", deadline_s=0.2, retry=Retry(attempts=1000)) as client:
        started = time.monotonic()
        with pytest.raises(ConnectionFailed):
            client.models()
    assert time.monotonic() - started < 1


def test_a_body_that_drips_is_not_waited_for() -> None:
    def drip() -> Any:
        for _ in range(100):
            time.sleep(0.05)
            yield b"{"

    with pytest.raises(TimeoutError):
        timely(drip(), Deadline(0.12))
    assert timely(iter([b"a", b"b"]), Deadline(None)) == b"ab"


def test_each_stage_gets_what_is_left() -> None:
    assert Timeouts(60.0, Deadline(None)).get("connect") == 5.0
    assert Timeouts(60.0, Deadline(None)).get("read") == 60.0
    assert Timeouts(None, Deadline(None)).get("read") is None
    left = Timeouts(60.0, Deadline(2.0)).get("read")
    assert left is not None
    assert 1.5 < left <= 2.0


@pytest.mark.parametrize("given", [0, -1, float("nan")])
def test_no_time_is_no_deadline(given: float) -> None:
    with pytest.raises(ValueError, match="more than 0"):
        Deadline(given)
