"""How long requests wait for the event loop, and whether that is a queue that stands or a burst that passes."""

import asyncio
import time

SHORT_PASS_S = 0.005
FEW_REQUESTS = 8
CALM_S = 1.0


class LoopAge:
    """How long a request that the event loop turns to now may have waited for other requests.

    The loop reads all sockets that have something, then runs all requests read: one pass. What is run now was read
    before this pass began, and arrived at the earliest when the pass before began, if that ended just before. A pass of
    few requests that took long was held up by something else, and refusing requests would not help it. Time is the
    processor time of the loop's thread: while other processes have the core no queue of requests is to blame.
    """

    def __init__(self) -> None:
        self._began: float | None = None
        self._requests = 0
        self._before: float | None = None

    def seconds(self) -> float:
        """The age in seconds."""
        now = time.thread_time()
        if self._began is None:
            self._began, self._requests = now, 0
            asyncio.get_running_loop().call_soon(self._end)
        self._requests += 1
        if self._before is not None:
            return now - self._before
        return now - self._began if self._requests > FEW_REQUESTS else 0.0

    def _end(self) -> None:
        began, self._began = self._began, None
        if began is not None and self._requests > FEW_REQUESTS and time.thread_time() - began > SHORT_PASS_S:
            self._before = began
            loop = asyncio.get_running_loop()
            loop.call_soon(loop.call_soon, self._forget)  # sockets are read in one turn, their requests run in the next

    def _forget(self) -> None:
        self._before = None


class Standing:
    """Tells a queue that stands from a burst that passes, as CoDel does (Nichols and Jacobson, ACM Queue 2012).

    A burst of requests that one pass of the loop answers is not to be refused. A delay above `target_s` counts once
    none was below it for `patience_s` of the processor's time; from then on each one counts, until none did for
    `CALM_S`. The target is far below what is allowed, so that who is refused hears so in time.
    """

    def __init__(self, target_s: float, patience_s: float) -> None:
        self._target_s = target_s
        self._patience_s = patience_s
        self._above_since: float | None = None
        self._strict_until = 0.0

    def counts(self, delay_s: float) -> bool:
        """Whether a request with this delay is to be refused."""
        if delay_s <= self._target_s:
            self._above_since = None
            return False
        now = time.thread_time()
        if self._above_since is None:
            self._above_since = now
        if now < self._above_since + self._patience_s and time.monotonic() >= self._strict_until:
            return False
        self._strict_until = time.monotonic() + CALM_S
        return True
