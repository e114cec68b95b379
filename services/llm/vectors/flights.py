"""Single flight: of several calls that want the same vector at the same time one fetches it, the others wait for it."""

import threading
from collections.abc import Iterable, Mapping
from concurrent.futures import Future

from services.llm.vectors.vector import Vector


class Flights:
    """The vectors that are being fetched. Who boards a key first leads it, and lands or fails it whatever happens."""

    def __init__(self) -> None:
        self._flights: dict[str, Future[Vector]] = {}
        self._lock = threading.Lock()

    def board(self, keys: Iterable[str]) -> tuple[set[str], dict[str, Future[Vector]]]:
        """The keys that the caller leads, and what to wait for where another call leads already."""
        led: set[str] = set()
        others = {}
        with self._lock:
            for key in keys:
                if key in self._flights:
                    others[key] = self._flights[key]
                else:
                    self._flights[key] = Future()
                    led.add(key)
        return led, others

    def land(self, vectors: Mapping[str, Vector]) -> None:
        """Give these vectors to all who wait for them."""
        for key, flight in self._end(vectors):
            flight.set_result(vectors[key])

    def fail(self, keys: Iterable[str], error: BaseException) -> None:
        """Let all who wait for these keys fail; who asks afterwards leads a flight of its own."""
        for _, flight in self._end(keys):
            flight.set_exception(error)

    def _end(self, keys: Iterable[str]) -> list[tuple[str, Future[Vector]]]:
        with self._lock:
            return [(key, self._flights.pop(key)) for key in keys]
