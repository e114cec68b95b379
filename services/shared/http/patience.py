"""Calls that may hang, such as one to a database that was stopped: who waits for them is answered all the same."""

import threading
from collections.abc import Callable
from typing import TypeVar

import anyio
from anyio import CapacityLimiter, to_thread

from llactr_core.errors import UnavailableError

T = TypeVar("T")


class Patience:
    """Runs calls in threads of their own and waits `seconds` for each; at most `at_a_time` of them hang."""

    def __init__(self, seconds: float, at_a_time: int) -> None:
        self._seconds = seconds
        self._running = threading.BoundedSemaphore(at_a_time)
        self._threads = CapacityLimiter(4 * at_a_time)

    async def wait(self, call: Callable[[], T]) -> T:
        """What the call returns. A call that takes longer goes on alone, and nobody hears what it returns.

        Raises:
            UnavailableError: it takes longer, or too many others do.
        """

        def run() -> T:
            # An abandoned thread is no longer counted by its limiter, but it holds its place here.
            if not self._running.acquire(timeout=self._seconds):
                raise UnavailableError("the storage does not answer; send the call again later")
            try:
                return call()
            finally:
                self._running.release()

        with anyio.move_on_after(self._seconds):
            return await to_thread.run_sync(run, limiter=self._threads, abandon_on_cancel=True)
        raise UnavailableError("the storage does not answer in time; send the call again later")
