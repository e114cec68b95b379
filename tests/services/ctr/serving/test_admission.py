"""Who is let in, who is refused at once, and what becomes of work that nobody waits for."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import ClientDisconnect, Request

from llactr_core.errors import DeadlineError, OverloadError
from services.ctr.serving.admission import Admission
from services.ctr.settings import CtrSettings

ROWS_1000 = 250_000  # bytes of about so many rows, before anything is measured


def run(tmp_path: Path, work: Callable[[Admission], Awaitable[None]], **changes: Any) -> None:
    async def main() -> None:
        admission = Admission(CtrSettings(home=tmp_path, **{"inline_rows": 1, "score_threads": 1, **changes}))
        try:
            await work(admission)
        finally:
            admission.close()

    asyncio.run(main())


def fill(enter: Callable[[], Any], reason: str) -> list[Any]:
    """What was let in until the first refusal, which has this reason."""
    entered: list[Any] = []

    def enter_all() -> None:
        for _ in range(50):
            entered.append(enter())

    with pytest.raises(OverloadError, match=reason):
        enter_all()
    return entered


def request_of(messages: "asyncio.Queue[dict[str, Any]]") -> Request:
    return Request({"type": "http", "headers": []}, messages.get)


def test_what_would_wait_too_long_is_refused_and_let_in_once_others_left(tmp_path: Path) -> None:
    async def work(admission: Admission) -> None:
        tickets = fill(lambda: admission.enter(ROWS_1000, None), "queue")
        assert 2 <= len(tickets) < 12
        small = admission.enter(100, None)  # goes by the event loop
        admission.leave(small)
        for _ in range(2):
            admission.leave(tickets.pop())
        with pytest.raises(OverloadError, match="deadline"):
            admission.enter(ROWS_1000, 0.01)
        for ticket in tickets:
            admission.leave(ticket)
        assert admission.enter(ROWS_1000, 0.01).lane is not None

    run(tmp_path, work)


def test_one_slow_request_is_no_reason_to_refuse_the_next(tmp_path: Path) -> None:
    async def work(admission: Admission) -> None:
        for _ in range(3):
            admission.leave(admission.enter(10, None))
            work_for(0.08)
            await asyncio.sleep(0)

    run(tmp_path, work)


def test_bulk_does_not_stand_in_the_way_of_others(tmp_path: Path) -> None:
    async def work(admission: Admission) -> None:
        bulk = [admission.enter(20 * ROWS_1000, None) for _ in range(5)]
        assert admission.enter(ROWS_1000, None).lane is not bulk[0].lane

    run(tmp_path, work)


@pytest.mark.parametrize(
    ("changes", "size", "word"),
    [({"queue_requests": 3}, 10, "requests"), ({"queue_mb": 1, "inline_rows": 10**6}, 300_000, "bytes")],
)
def test_requests_and_bytes_are_bounded(tmp_path: Path, changes: dict[str, Any], size: int, word: str) -> None:
    async def work(admission: Admission) -> None:
        tickets = [admission.enter(size, None) for _ in range(3)]
        with pytest.raises(OverloadError, match=word):
            admission.enter(size, None)
        admission.leave(tickets[0])
        admission.leave(admission.enter(size, None))

    run(tmp_path, work, **changes)


def test_a_body_without_a_length_counts_as_it_comes(tmp_path: Path) -> None:
    async def work(admission: Admission) -> None:
        admission.enter(300_000, None)
        chunked = admission.enter(0, None)
        assert 5 < len(fill(lambda: admission.grow(chunked, 100_000), "bytes")) < 10
        admission.leave(chunked)
        admission.enter(300_000, None)

    run(tmp_path, work, queue_mb=1, inline_rows=10**6)


def test_a_body_without_a_length_moves_to_the_lane_of_its_size(tmp_path: Path) -> None:
    async def work(admission: Admission) -> None:
        head, bulk = admission.enter(ROWS_1000, None), admission.enter(20 * ROWS_1000, None)
        chunked = admission.enter(0, None)
        assert chunked.lane is None
        admission.grow(chunked, ROWS_1000)
        assert chunked.lane is head.lane
        admission.grow(chunked, 20 * ROWS_1000)
        assert chunked.lane is bulk.lane
        assert chunked.settle(1) is None
        admission.grow(chunked, 0)  # as a caller does who hangs up
        assert chunked.lane is None
        fill(lambda: admission.grow(admission.enter(0, None), ROWS_1000), "queue")

    run(tmp_path, work)


def test_the_bytes_of_a_row_are_learned_for_each_form(tmp_path: Path) -> None:
    async def work(admission: Admission) -> None:
        for _ in range(100):
            ticket = admission.enter(10_000, None, "arrow")
            ticket.settle(1000)
            admission.leave(ticket)
        assert admission.enter(10_000, None, "arrow").rows == pytest.approx(1000, rel=0.01)
        assert admission.enter(10_000, None, "json").rows == pytest.approx(40)

    run(tmp_path, work)


def work_for(seconds: float) -> None:
    """Use the processor for so long."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def test_a_process_that_was_held_up_by_others_refuses_nobody(tmp_path: Path) -> None:
    async def work(admission: Admission) -> None:
        for _ in range(10):
            admission.leave(admission.enter(10, None))
        time.sleep(0.2)  # others have the core
        admission.leave(admission.enter(10, None))

    run(tmp_path, work)


async def late_pass(admission: Admission, *costs: float) -> list[bool]:
    """Ten requests in one pass of the loop, then one after each of the costs in seconds; which of those were let in."""
    for _ in range(10):
        admission.leave(admission.enter(10, None))
    let_in = []
    for cost in costs:
        work_for(cost)
        try:
            admission.leave(admission.enter(10, None))
        except OverloadError as error:
            let_in.append("(loop)" not in error.detail)
        else:
            let_in.append(True)
    await asyncio.sleep(0.02)
    return let_in


def test_a_burst_refuses_nobody_and_a_queue_that_stands_does_until_it_is_gone(tmp_path: Path) -> None:
    async def work(admission: Admission) -> None:
        for _ in range(4):  # each is behind for 80 ms, and has caught up with the next
            assert await late_pass(admission, 0.08) == [True]
            admission.leave(admission.enter(10, None))
            await asyncio.sleep(0.02)
        assert await late_pass(admission, 0.05, 0.06, 0.06) == [True, True, False]
        assert await late_pass(admission, 0.02, 0.03) == [True, False], "what is late is refused at once from here on"
        await asyncio.sleep(1.0)
        assert await late_pass(admission, 0.05) == [True]

    run(tmp_path, work)


@pytest.mark.parametrize("leaves", ["deadline", "hang-up"])
def test_work_that_nobody_waits_for_is_dropped(tmp_path: Path, leaves: str) -> None:
    free, ran = threading.Event(), []

    async def work(admission: Admission) -> None:
        messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        busy, late = (
            admission.enter(ROWS_1000, None),
            admission.enter(ROWS_1000, 0.05 if leaves == "deadline" else None),
        )
        assert busy.lane is not None
        assert busy.lane is late.lane
        first = asyncio.ensure_future(busy.lane.run(lambda: free.wait(5), busy, request_of(asyncio.Queue())))
        await asyncio.sleep(0)  # so that it is the first in the thread
        if leaves == "hang-up":
            await messages.put({"type": "http.disconnect"})
        with pytest.raises(DeadlineError if leaves == "deadline" else ClientDisconnect):
            await busy.lane.run(lambda: ran.append(1), late, request_of(messages))
        await asyncio.sleep(0)  # the lane hears of it in the next turn of the loop
        free.set()
        assert await first
        admission.leave(late)
        await busy.lane.run(lambda: ran.append(2), busy, request_of(asyncio.Queue()))

    run(tmp_path, work)
    assert ran == [2]
