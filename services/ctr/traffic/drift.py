"""Where the traffic falls into the bins of a version's reference: counts by hour and field, in SQL.

Bins and the index itself are `llactr_core.data.reference`'s: held-out rows and live ones are counted by the same code.
"""

from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
from sqlalchemy import func, select

from llactr_core.data.reference import Reference
from llactr_core.errors import BundleError
from services.ctr.formats.decoding import Features
from services.ctr.serving.pool import Loaded
from services.ctr.traffic.tables import HOUR_S, DriftRow
from services.shared.storage.clock import time_of
from services.shared.storage.storage import Storage
from services.shared.storage.upsert import insert_into

SCORES = ""
KEPT = 4  # each keeps the encoder of its bundle in memory

Counts = dict[str, npt.NDArray[np.int64]]


class References:
    """The references of the last used bundles. Used by one thread."""

    def __init__(self) -> None:
        self._known: OrderedDict[Path, Reference | None] = OrderedDict()

    def of(self, bundle: Path) -> Reference | None:
        """The bundle's reference; None where it has none (bundles of an older format), or is gone."""
        if bundle not in self._known:
            try:
                self._known[bundle] = Reference.load(bundle)
            except BundleError:
                self._known[bundle] = None
            while len(self._known) > KEPT:
                self._known.popitem(last=False)
        self._known.move_to_end(bundle)
        return self._known[bundle]


class DriftCounts:
    """The counts of one process on their way to SQL, and of all processes on their way back."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._references = References()
        self._counts: dict[tuple[str, str], Counts] = {}

    def add(self, loaded: Loaded, features: Features, scores: npt.NDArray[np.float64]) -> None:
        """Count rows with their scores [B] in the bins of the version's reference, if it has one."""
        reference = self._references.of(loaded.scorer.bundle.path)
        if reference is None:
            return
        found = dict(reference.count(loaded.scorer.encoder, loaded.scorer.encode(features)))
        found[SCORES] = reference.count_scores(scores)
        kept = self._counts.setdefault((loaded.name, loaded.version), {})
        for field, counts in found.items():
            kept[field] = kept[field] + counts if field in kept else counts

    def write(self) -> None:
        """Add what was counted to the counts of this hour.

        Raises:
            UnavailableError: the database does not answer; what was counted is kept.
        """
        if not self._counts:
            return
        with self._storage.session() as session:
            hour = int(time_of(session) // HOUR_S)
            rows = [
                {
                    "model": model,
                    "version": version,
                    "hour": hour,
                    "field": field,
                    "bin": int(i),
                    "rows": int(counts[i]),
                }
                for (model, version), fields in sorted(self._counts.items())  # in one order: no two wait in a circle
                for field, counts in sorted(fields.items())
                for i in np.flatnonzero(counts)
            ]
            insert = insert_into(session, DriftRow)
            merged = {"rows": DriftRow.__table__.c.rows + insert.excluded.rows}
            keys = ["model", "version", "hour", "field", "bin"]
            if rows:
                session.execute(insert.on_conflict_do_update(index_elements=keys, set_=merged), rows)
        self.drop()

    def drop(self) -> None:
        """Forget what was counted and not written."""
        self._counts.clear()

    def read(self, model: str, hours: float) -> Mapping[str, Mapping[str, Mapping[int, int]]]:
        """Version -> field ("" for the scores) -> bin -> rows, of the last hours."""
        total = func.sum(DriftRow.rows)
        with self._storage.reading() as session:
            since = int((time_of(session) - hours * HOUR_S) // HOUR_S)
            rows = session.execute(
                select(DriftRow.version, DriftRow.field, DriftRow.bin, total)
                .where(DriftRow.model == model, DriftRow.hour >= since)
                .group_by(DriftRow.version, DriftRow.field, DriftRow.bin)
            ).all()
        found: dict[str, dict[str, dict[int, int]]] = {}
        for version, field, number, count in rows:
            found.setdefault(version, {}).setdefault(field, {})[number] = int(count)
        return found
