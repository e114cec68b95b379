"""Overlays in SQL: append-only, one chain of digests per version."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from llactr_core.errors import NotFoundError
from llactr_core.overlay import OverlayRow
from services.ctr.registry.store import require_model
from services.ctr.registry.tables import VersionRow
from services.ctr.serving.shelf import Key
from services.ctr.values.tables import OverlayHeadRow, OverlayValueRow
from services.shared.storage.clock import time_of
from services.shared.storage.storage import Storage

LITTLE_ENDIAN = np.dtype("<f4")


@dataclass(frozen=True)
class Head:
    """Where an overlay stands: its digest, how many rows it has, and when the last one was added."""

    digest: str
    rows: int
    at: float


@dataclass(frozen=True)
class Stored:
    """One row with its number in SQL, where it came from and when."""

    number: int
    row: OverlayRow
    source: str
    at: float


class OverlayStore:
    """Reads and writes overlays. Every method is one transaction and raises UnavailableError while it cannot."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def heads(self) -> dict[Key, Head]:
        """Every overlay that has rows, by (model, version)."""
        with self._storage.reading() as session:
            rows = session.scalars(select(OverlayHeadRow))
            return {(row.model, row.version): Head(row.digest, row.rows, row.updated_at) for row in rows}

    def rows(self, key: Key, after: int = 0, limit: int | None = None) -> list[Stored]:
        """The rows of an overlay behind the number `after`, in the order in which they were added."""
        with self._storage.reading() as session:
            query = _of(key).where(OverlayValueRow.number > after).order_by(OverlayValueRow.number).limit(limit)
            return [_stored(row) for row in session.scalars(query)]

    def known(self, key: Key, values: Sequence[str]) -> set[tuple[str, str]]:
        """(field, value) of those of some values that an overlay has, in whatever field."""
        with self._storage.reading() as session:
            return _known(session, key, values)

    def append(self, key: Key, rows: Sequence[OverlayRow], source: str, most: int) -> tuple[Head, list[OverlayRow]]:
        """Add rows, and say where the overlay stands then and which were added.

        Left out are values that it has, and those of a field that has `most` already: of two callers at once the
        first one's rows stay.

        Raises:
            NotFoundError: there is no such model or version (any more).
        """
        model, version = key
        with self._storage.session() as session:
            require_model(session, model, lock=True)
            query = select(VersionRow.number).where(VersionRow.model == model, VersionRow.version == version)
            if session.scalar(query) is None:
                raise NotFoundError(f"model {model!r} has no version {version!r}; see GET /v1/models/{model}/versions")
            head = session.get(OverlayHeadRow, key)
            if head is None:
                head = OverlayHeadRow(model=model, version=version, rows=0, digest=version, updated_at=0.0)
            added = _new(session, key, rows, most)
            now = time_of(session)
            for row in added:
                head.digest = row.chained(head.digest)
                scene = None if row.scene is None else _bytes(row.scene)
                named = {"model": model, "version": version, "field": row.field, "value": row.value}
                session.add(OverlayValueRow(**named, row=_bytes(row.row), scene=scene, source=source, at=now))
                session.flush()  # numbers in the order of the chain
            if added:
                head.rows, head.updated_at = head.rows + len(added), now
                session.add(head)
            return Head(head.digest, head.rows, head.updated_at), added

    def drop(self, key: Key) -> int:
        """Forget an overlay; how many rows it had."""
        with self._storage.session() as session:
            require_model(session, key[0], lock=True)
            return forget(session, key)


def forget(session: Session, key: Key) -> int:
    """Delete an overlay's rows; how many there were."""
    model, version = key
    rows = session.scalar(select(func.count()).select_from(_of(key).subquery())) or 0
    for table in (OverlayValueRow, OverlayHeadRow):
        session.execute(delete(table).where(table.model == model, table.version == version))
    return int(rows)


def _new(session: Session, key: Key, rows: Sequence[OverlayRow], most: int) -> list[OverlayRow]:
    fields = {row.field for row in rows}
    room = {field: most - _counts(session, key).get(field, 0) for field in fields}
    known = _known(session, key, [row.value for row in rows])
    added = []
    for row in rows:
        if (row.field, row.value) not in known and room[row.field] > 0:
            known.add((row.field, row.value))
            room[row.field] -= 1
            added.append(row)
    return added


def _known(session: Session, key: Key, values: Sequence[str]) -> set[tuple[str, str]]:
    query = select(OverlayValueRow.field, OverlayValueRow.value).where(
        OverlayValueRow.model == key[0], OverlayValueRow.version == key[1], OverlayValueRow.value.in_(values)
    )
    return {(field, value) for field, value in session.execute(query)}


def _of(key: Key):  # type: ignore[no-untyped-def]
    return select(OverlayValueRow).where(OverlayValueRow.model == key[0], OverlayValueRow.version == key[1])


def _counts(session: Session, key: Key) -> dict[str, int]:
    query = (
        select(OverlayValueRow.field, func.count())
        .where(OverlayValueRow.model == key[0], OverlayValueRow.version == key[1])
        .group_by(OverlayValueRow.field)
    )
    return {str(field): int(count) for field, count in session.execute(query)}


def _stored(row: OverlayValueRow) -> Stored:
    scene = None if row.scene is None else _numbers(row.scene)
    return Stored(row.number, OverlayRow(row.field, row.value, _numbers(row.row), scene), row.source, row.at)


def _bytes(numbers: npt.NDArray[np.float32]) -> bytes:
    return numbers.astype(LITTLE_ENDIAN).tobytes()


def _numbers(content: bytes) -> npt.NDArray[np.float32]:
    whole = content[: len(content) // LITTLE_ENDIAN.itemsize * LITTLE_ENDIAN.itemsize]
    return np.frombuffer(whole, LITTLE_ENDIAN).astype(np.float32)
