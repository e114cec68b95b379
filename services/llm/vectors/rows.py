"""Vectors in SQL: what survives a restart. At most so many rows; those that were used longest ago go first."""

import time
from collections.abc import Collection, Iterator, Mapping
from itertools import islice

from sqlalchemy import delete, func, select, update

from services.llm.rows import EmbeddingRow
from services.llm.vectors.vector import Vector
from services.shared.storage.storage import Storage
from services.shared.storage.upsert import insert_into

DAY_S = 86400
BATCH = 500  # keys in one statement


class VectorRows:
    """The vectors of one database, at most about `limit` of them.

    Every method raises UnavailableError while the database does not answer.
    """

    def __init__(self, storage: Storage, limit: int) -> None:
        self._storage = storage
        self._limit = limit

    def read(self, keys: Collection[str]) -> tuple[dict[str, Vector], list[str]]:
        """The vectors that are there, and the keys among them that were not marked as used for a day."""
        columns = (EmbeddingRow.key, EmbeddingRow.vector, EmbeddingRow.tokens, EmbeddingRow.used_at)
        with self._storage.reading() as session:
            rows = [
                row
                for batch in _batches(keys)
                for row in session.execute(select(*columns).where(EmbeddingRow.key.in_(batch)))
            ]
        stale = time.time() - DAY_S
        return (
            {key: Vector(content, tokens) for key, content, tokens, _ in rows},
            [key for key, _, _, used_at in rows if used_at < stale],
        )

    def write(self, vectors: Mapping[str, Vector]) -> None:
        """Keep these vectors in place of what their keys have had."""
        at = time.time()
        rows = [
            {"key": key, "vector": vector.content, "tokens": vector.tokens, "used_at": at}
            for key, vector in sorted(vectors.items())  # in one order everywhere: two writers never wait in a circle
        ]
        with self._storage.session() as session:
            insert = insert_into(session, EmbeddingRow)
            replaced = {name: insert.excluded[name] for name in ("vector", "tokens", "used_at")}
            session.execute(insert.on_conflict_do_update(index_elements=["key"], set_=replaced), rows)

    def touch(self, keys: Collection[str]) -> None:
        """Mark these vectors as used."""
        marked = update(EmbeddingRow).values(used_at=time.time())
        with self._storage.session() as session:
            for batch in _batches(sorted(keys)):
                session.execute(marked.where(EmbeddingRow.key.in_(batch)))

    def prune(self) -> int:
        """Delete what is beyond the limit, a batch per transaction: how many rows that were."""
        with self._storage.reading() as session:
            excess = max(0, (session.scalar(select(func.count()).select_from(EmbeddingRow)) or 0) - self._limit)
        for start in range(0, excess, BATCH):
            oldest = select(EmbeddingRow.key).order_by(EmbeddingRow.used_at).limit(min(BATCH, excess - start))
            with self._storage.session() as session:
                session.execute(delete(EmbeddingRow).where(EmbeddingRow.key.in_(oldest)))
        return excess


def _batches(keys: Collection[str]) -> Iterator[list[str]]:
    rest = iter(keys)
    while batch := list(islice(rest, BATCH)):
        yield batch
