"""What was used last, in memory."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Lru(Generic[K, V]):
    """Values by key, all together at most so heavy; who was used longest ago is dropped first. Safe between threads.

    Args:
        limit: the most that all values may weigh.
        weigh: the weight of a value; 1 where none is given, so that `limit` is their number.
    """

    def __init__(self, limit: int, weigh: Callable[[V], int] = lambda _: 1) -> None:
        self._limit = limit
        self._weigh = weigh
        self._weight = 0
        self._values: OrderedDict[K, V] = OrderedDict()
        self._lock = threading.RLock()

    def get(self, key: K) -> V | None:
        """The value, or None."""
        with self._lock:
            value = self._values.get(key)
            if value is not None:
                self._values.move_to_end(key)
            return value

    def put(self, key: K, value: V) -> None:
        """Remember a value, unless it is heavier than all may be together."""
        weight = self._weigh(value)
        with self._lock:
            self._drop(key)
            self.make_room(weight)
            if weight <= self._limit:
                self._values[key] = value
                self._weight += weight

    def make_room(self, weight: int) -> None:
        """Drop values until one of this weight has room, or none is left."""
        with self._lock:
            while self._values and self._weight + weight > self._limit:
                self._drop(next(iter(self._values)))

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._values.clear()
            self._weight = 0

    def _drop(self, key: K) -> None:
        value = self._values.pop(key, None)
        if value is not None:
            self._weight -= self._weigh(value)
