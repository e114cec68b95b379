"""A line of threads before something that only one of them may use at a time."""

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager


class Line:
    """Like a lock, but fair: who has waited longest is next, also before one who leaves and comes again at once."""

    def __init__(self) -> None:
        self._tickets: deque[object] = deque()
        self._moved = threading.Condition()

    @contextmanager
    def front(self) -> Iterator[None]:
        """Wait at the end of the line, and be at its front for the length of the block."""
        ticket = object()
        with self._moved:
            self._tickets.append(ticket)
        try:
            with self._moved:
                self._moved.wait_for(lambda: self._tickets[0] is ticket)
            yield
        finally:
            with self._moved:
                self._tickets.remove(ticket)
                self._moved.notify_all()
