"""The vectors that were used last, in this process, up to a number of bytes."""

from collections.abc import Iterable, Mapping

from services.llm.vectors.vector import Vector
from services.shared.lru import Lru

ENTRY_BYTES = 400  # what Python needs for an entry besides the vector's own bytes


class Memory:
    """Keys to vectors; those that were used longest ago are forgotten first."""

    def __init__(self, limit_bytes: int) -> None:
        self._vectors: Lru[str, Vector] = Lru(limit_bytes, lambda vector: len(vector.content) + ENTRY_BYTES)

    def get_many(self, keys: Iterable[str]) -> dict[str, Vector]:
        """The vectors that are here."""
        found = ((key, self._vectors.get(key)) for key in keys)
        return {key: vector for key, vector in found if vector is not None}

    def put_many(self, vectors: Mapping[str, Vector]) -> None:
        """Remember these vectors."""
        for key, vector in vectors.items():
            self._vectors.put(key, vector)
