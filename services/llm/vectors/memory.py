"""The vectors that were used last, in this process, up to a number of bytes."""

import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping

from services.llm.vectors.vector import Vector

ENTRY_BYTES = 400  # what Python needs for an entry besides the vector's own bytes


class Memory:
    """Keys to vectors; those that were used longest ago are forgotten first."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._held = 0
        self._vectors: OrderedDict[str, Vector] = OrderedDict()
        self._lock = threading.Lock()

    def get_many(self, keys: Iterable[str]) -> dict[str, Vector]:
        """The vectors that are here."""
        found = {}
        with self._lock:
            for key in keys:
                vector = self._vectors.get(key)
                if vector is not None:
                    self._vectors.move_to_end(key)
                    found[key] = vector
        return found

    def put_many(self, vectors: Mapping[str, Vector]) -> None:
        """Remember these vectors."""
        with self._lock:
            for key, vector in vectors.items():
                self._forget(self._vectors.pop(key, None))
                self._vectors[key] = vector
                self._held += len(vector.content) + ENTRY_BYTES
            while self._held > self._limit:
                self._forget(self._vectors.popitem(last=False)[1])

    def _forget(self, vector: Vector | None) -> None:
        if vector is not None:
            self._held -= len(vector.content) + ENTRY_BYTES
