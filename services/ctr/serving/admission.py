"""Which scoring requests are let in, decided by their heads, and the threads in which the larger ones wait.

Small requests are scored on the event loop; larger ones wait in one of two lanes, each with its own threads, so that
neither waits behind bulk. A request is refused at once where the wait that it has to expect is longer than is allowed:
refusing costs microseconds, and what is never begun needs no memory. All of it runs on the event loop; only the work
that a lane is given runs in its threads.
"""

import asyncio
import math
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request

from llactr_core.errors import DeadlineError, OverloadError
from services.ctr import metrics
from services.ctr.serving.delay import LoopAge, Standing
from services.ctr.settings import CtrSettings
from services.shared.telemetry.tally import TALLY

T = TypeVar("T")
FIRST_SECONDS_PER_ROW = 20e-6
FIRST_ROWS_PER_BYTE = 1 / 250
LEARNED = 0.1  # the weight of the newest measurement


class Lane:
    """Threads, and the requests that they work on or that wait for them.

    Args:
        longest_s: the longest wait that a request may have to expect.
        most_rows: of a request.
    """

    def __init__(self, name: str, threads: int, longest_s: float, most_rows: float) -> None:
        self.longest_s = longest_s
        self.most_rows = most_rows
        self.requests = 0
        self.rows = 0.0
        self._threads = threads
        self._seconds_per_row = FIRST_SECONDS_PER_ROW
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=f"score-{name}")

    def wait_s(self) -> float:
        """The wait that one more request has to expect: 0 while a thread is free."""
        if self.requests < self._threads:
            return 0.0
        return self.rows * self._seconds_per_row / self._threads

    async def run(self, work: Callable[[], T], ticket: "Ticket", request: Request) -> T:
        """Do the work in a thread of this lane, and wait for it as long as the caller does.

        Raises:
            DeadlineError: the caller's time passed; work that had not begun is dropped.
            ClientDisconnect: the caller hung up; likewise.
        """
        future = asyncio.get_running_loop().run_in_executor(self._pool, partial(_timed, work, ticket))
        if self.requests > self._threads or ticket.deadline is not None:
            await _wait(future, ticket, request)
        done, seconds = await future
        self._learn(ticket, seconds)
        return done

    def begin(self, work: Callable[[], T], ticket: "Ticket", take: "Callable[[T | BaseException], None]") -> None:
        """The same for who does not wait: `take`, which must not raise, is given what was done or what went wrong, on
        the event loop.
        """
        loop = asyncio.get_running_loop()

        def end(future: "Future[tuple[T, float]]") -> None:
            error = future.exception()
            if error is None:
                done, seconds = future.result()
                self._learn(ticket, seconds)
                take(done)
            else:
                take(error)

        def ended(future: "Future[tuple[T, float]]") -> None:
            if not (future.cancelled() or loop.is_closed()):
                loop.call_soon_threadsafe(end, future)

        self._pool.submit(_timed, work, ticket).add_done_callback(ended)

    def _learn(self, ticket: "Ticket", seconds: float) -> None:
        if ticket.rows >= 1:
            known = self._seconds_per_row
            self._seconds_per_row += LEARNED * (min(seconds / ticket.rows, 2 * known) - known)  # one stall is no trend

    def close(self) -> None:
        """Drop what waits."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def _timed(work: Callable[[], T], ticket: "Ticket") -> tuple[T, float]:
    ticket.check()
    began = time.perf_counter()
    return work(), time.perf_counter() - began


async def _wait(future: "asyncio.Future[T]", ticket: "Ticket", request: Request) -> None:
    """Return once the future is done; cancel it where nobody waits for it any more."""
    gone = asyncio.ensure_future(_hang_up(request))
    try:
        both: set[asyncio.Future[Any]] = {future, gone}
        await asyncio.wait(both, timeout=ticket.left_s(), return_when=asyncio.FIRST_COMPLETED)
        if future.done():
            return
        if gone.done():
            raise ClientDisconnect
        raise ticket.missed()
    finally:
        gone.cancel()
        future.cancel()  # without effect where it is done


async def _hang_up(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


@dataclass(slots=True)
class Ticket:
    """A request that was let in. `deadline` is in seconds of `time.monotonic`, None where the caller named none."""

    admission: "Admission"
    size: int
    deadline: float | None
    timeout_s: float | None
    lane: Lane | None
    rows: float
    form: str

    def left_s(self) -> float | None:
        """Seconds that the caller still waits, at least 0; None for as long as it takes."""
        return None if self.deadline is None else max(0.0, self.deadline - time.monotonic())

    def check(self) -> None:
        """Go on only if the caller still waits.

        Raises:
            DeadlineError: its time has passed.
        """
        if self.deadline is not None and time.monotonic() >= self.deadline:
            raise self.missed()

    def missed(self) -> DeadlineError:
        """The error for a deadline that has passed."""
        metrics.SCORE_DEADLINES_MISSED.inc()
        given = (self.timeout_s or 0) * 1000
        return DeadlineError(f"the {given:g} ms of X-Timeout-Ms passed before the answer; give more, or send less")

    def settle(self, rows: int, cost: int = 1) -> Lane | None:
        """Tell how many rows the request really has; the lane that they belong in, None for the event loop.

        Args:
            rows: the rows.
            cost: how many rows could be scored in the time that each of them takes.

        Raises:
            OverloadError: that lane's wait is too long.
        """
        return self.admission.settle(self, rows, cost)


class Admission:
    """Lets requests in while they can be answered in time; the bounds are those of the settings."""

    def __init__(self, settings: CtrSettings) -> None:
        self._inline_rows = settings.inline_rows
        self._longest_s = settings.queue_ms / 1000
        self._most_requests = settings.queue_requests
        self._most_bytes = settings.queue_mb * 2**20
        self._lane = Lane("rows", settings.score_threads, self._longest_s, settings.bulk_rows)
        self._bulk = Lane("bulk", 1, settings.bulk_queue_ms / 1000, math.inf)
        self._age = LoopAge()
        self._standing = Standing(self._longest_s / 3, self._longest_s)
        self._rows_per_byte: dict[str, float] = {}  # by the form of the body
        self._requests = 0
        self._bytes = 0

    def start(self) -> None:
        """Nothing begins before the first request."""

    def close(self) -> None:
        """Drop what waits for a thread."""
        self._lane.close()
        self._bulk.close()

    def enter(self, size: int, timeout_s: float | None, form: str = "") -> Ticket:
        """Let a request with a body of `size` bytes in; every ticket has to `leave`.

        Args:
            size: 0 where the head does not tell.
            timeout_s: how long the caller waits.
            form: names what the body is; bytes a row are learned for each, so there may be only a few.

        Raises:
            OverloadError: it would have to wait too long, or too much waits already.
        """
        now = time.monotonic()
        age_s = self._age.seconds()
        rows = size * self._rows_per_byte.get(form, FIRST_ROWS_PER_BYTE)
        lane = self._lane_for(rows)
        if self._requests >= self._most_requests:
            raise _refused("requests")
        if self._bytes + size > self._most_bytes and self._requests:
            raise _refused("bytes")
        if self._standing.counts(age_s):
            raise _refused("loop")
        _check_wait(lane, age_s, timeout_s)
        self._requests += 1
        self._bytes += size
        TALLY.add(metrics.SCORE_REQUESTS_WAITING)
        ticket = Ticket(self, size, None if timeout_s is None else now + timeout_s, timeout_s, None, 0.0, form)
        _move(ticket, lane, rows)
        return ticket

    def grow(self, ticket: Ticket, size: int) -> None:
        """Count more bytes of a body whose length its head did not tell; it belongs in the lane of what it has by now.

        Raises:
            OverloadError: too many bytes are held already, or that lane's wait is too long.
        """
        if not size:
            return
        if self._bytes + size > self._most_bytes and self._requests > 1:
            raise _refused("bytes")
        ticket.size += size
        self._bytes += size
        self._place(ticket, ticket.size * self._rows_per_byte.get(ticket.form, FIRST_ROWS_PER_BYTE))

    def settle(self, ticket: Ticket, rows: int, cost: int) -> Lane | None:
        """What `Ticket.settle` does."""
        self.learn(ticket, rows)
        return self._place(ticket, rows * cost)

    def learn(self, ticket: Ticket, rows: int) -> None:
        """Note how many rows a request really has, for those that come after it."""
        if ticket.size:
            known = self._rows_per_byte.get(ticket.form, FIRST_ROWS_PER_BYTE)
            self._rows_per_byte[ticket.form] = known + LEARNED * (rows / ticket.size - known)

    def leave(self, ticket: Ticket) -> None:
        """The request was answered."""
        _move(ticket, None, 0.0)
        self._requests -= 1
        self._bytes -= ticket.size
        TALLY.add(metrics.SCORE_REQUESTS_WAITING, -1)

    def _place(self, ticket: Ticket, rows: float) -> Lane | None:
        """Move a request to the lane of so many rows, if it need not wait there for too long."""
        lane = self._lane_for(rows)
        known = ticket.lane
        _move(ticket, None, 0.0)
        if lane is not known:
            _check_wait(lane, 0.0, ticket.left_s())
        _move(ticket, lane, rows)
        return lane

    def _lane_for(self, rows: float) -> Lane | None:
        if rows <= self._inline_rows:
            return None
        return self._lane if rows <= self._lane.most_rows else self._bulk


def _move(ticket: Ticket, lane: Lane | None, rows: float) -> None:
    if ticket.lane is not None:
        ticket.lane.requests -= 1
        ticket.lane.rows -= ticket.rows
    ticket.lane, ticket.rows = lane, rows
    if lane is not None:
        lane.requests += 1
        lane.rows += rows


def _check_wait(lane: Lane | None, age_s: float, timeout_s: float | None) -> None:
    wait_s = age_s + (0.0 if lane is None else lane.wait_s())
    if lane is not None and wait_s > lane.longest_s:
        raise _refused("queue")
    if timeout_s is not None and wait_s > timeout_s:
        raise _refused("deadline")


def _refused(reason: str) -> OverloadError:
    metrics.SCORE_REFUSED.labels(reason).inc()
    return OverloadError(f"the service has more to score than it can answer in time ({reason}); send the call later")
