"""The time that a call may take, all its tries together."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

CONNECT_S = 5.0
LONGEST_MS = 600_000


class Deadline:
    """A moment `seconds` from its making; None is never.

    Raises:
        ValueError: no time is given.
    """

    def __init__(self, seconds: float | None) -> None:
        if seconds is not None and not seconds > 0:
            raise ValueError(f"deadline_s is {seconds}; give more than 0 seconds, or None for no deadline")
        self._at = None if seconds is None else time.monotonic() + seconds

    def left_s(self) -> float | None:
        """Seconds left, at least 0."""
        return None if self._at is None else max(0.0, self._at - time.monotonic())

    @property
    def passed(self) -> bool:
        """Whether nothing is left."""
        return self.left_s() == 0.0

    def allows(self, pause_s: float) -> bool:
        """Whether something is left after the pause."""
        left = self.left_s()
        return left is None or pause_s < left

    def headers(self) -> dict[str, str]:
        """What tells the service how long the answer is waited for."""
        left = self.left_s()
        return {} if left is None else {"X-Timeout-Ms": str(min(LONGEST_MS, max(1, int(left * 1000))))}


@dataclass(frozen=True)
class Timeouts:
    """The limits of the stages of one try, as httpx2 asks for them when each stage begins.

    A connection must be there within 5 s, an answer within `read_s` (None: no limit), nothing after the deadline.
    """

    read_s: float | None
    deadline: Deadline

    def get(self, stage: str, default: float | None = None) -> float | None:
        """Seconds that the stage may take (connect, pool, write or read)."""
        limits = (CONNECT_S if stage == "connect" else self.read_s, self.deadline.left_s(), default)
        return min((limit for limit in limits if limit is not None), default=None)


def timely(chunks: Iterator[bytes], deadline: Deadline) -> bytes:
    """The whole body.

    Raises:
        TimeoutError: the deadline passed in its middle.
    """
    body = bytearray()
    for chunk in chunks:
        if deadline.passed:
            raise TimeoutError
        body += chunk
    return bytes(body)
