"""A shadow beside the version that answers: sums over rows that both scored, by hour, and what they say."""

import math
from dataclasses import astuple, dataclass, fields

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict
from pydantic import Field as Setting
from sqlalchemy import case, func, select

from services.ctr.traffic.tables import HOUR_S, ShadowRow
from services.shared.storage.clock import time_of
from services.shared.storage.storage import Storage
from services.shared.storage.upsert import insert_into

Floats = npt.NDArray[np.float64]


@dataclass
class Sums:
    """Over rows with the scores a (answered) and b (shadow): |a - b|, its maximum, a, b, a^2, b^2 and ab."""

    rows: int = 0
    difference: float = 0.0
    largest: float = 0.0
    a: float = 0.0
    b: float = 0.0
    aa: float = 0.0
    bb: float = 0.0
    ab: float = 0.0

    def add(self, a: Floats, b: Floats) -> None:
        """Count rows, a and b [B]."""
        apart = np.abs(a - b)
        self.rows += len(a)
        self.difference += float(apart.sum())
        self.largest = max(self.largest, float(apart.max(initial=0.0)))
        self.a, self.b = self.a + float(a.sum()), self.b + float(b.sum())
        self.aa, self.bb, self.ab = self.aa + float(a @ a), self.bb + float(b @ b), self.ab + float(a @ b)

    @property
    def correlation(self) -> float | None:
        """Pearson's, or None where one of the two never varied."""
        n = self.rows
        spread_a, spread_b = self.aa - self.a * self.a / n, self.bb - self.b * self.b / n
        if min(spread_a / n, spread_b / n) <= 1e-15:  # less is rounding
            return None
        return max(-1.0, min(1.0, (self.ab - self.a * self.b / n) / math.sqrt(spread_a * spread_b)))


SUMS = tuple(field.name for field in fields(Sums))


class Comparison(BaseModel):
    """How a shadow scored the rows that another version answered."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: str = Setting(description="The version that answered.")
    shadow: str = Setting(description="The version that scored beside it.")
    rows: int
    mean_difference: float = Setting(description="Mean absolute difference of the scores.")
    largest_difference: float
    correlation: float | None = Setting(description="Pearson's; null where one of the two never varied.")
    mean_score: float = Setting(description="Mean of the answered scores.")
    mean_shadow: float = Setting(description="Mean of the shadow's scores.")


class Comparisons:
    """The sums of one process on their way to SQL, and of all processes on their way back."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._sums: dict[tuple[str, str, str], Sums] = {}

    def add(self, model: str, version: str, shadow: str, a: Floats, b: Floats) -> None:
        """Count rows that `version` answered with a [B] and `shadow` scored b [B]."""
        self._sums.setdefault((model, version, shadow), Sums()).add(a, b)

    def write(self) -> None:
        """Add what was counted to the sums of this hour.

        Raises:
            UnavailableError: the database does not answer; what was counted is kept.
        """
        if not self._sums:
            return
        with self._storage.session() as session:
            hour = int(time_of(session) // HOUR_S)
            rows = [
                dict(zip(("model", "version", "shadow"), key, strict=True))
                | dict(zip(SUMS, astuple(sums), strict=True))
                | {"hour": hour}
                for key, sums in sorted(self._sums.items())  # in one order: two writers never wait in a circle
            ]
            insert = insert_into(session, ShadowRow)
            table, given = ShadowRow.__table__.c, insert.excluded
            merged = {name: table[name] + given[name] for name in SUMS}
            merged["largest"] = case((given.largest > table.largest, given.largest), else_=table.largest)
            keys = ["model", "version", "shadow", "hour"]
            session.execute(insert.on_conflict_do_update(index_elements=keys, set_=merged), rows)
        self.drop()

    def drop(self) -> None:
        """Forget what was counted and not written."""
        self._sums.clear()

    def read(self, model: str, hours: float) -> list[Comparison]:
        """The pairs of versions of the last hours, by their rows."""
        columns = ShadowRow.__table__.c
        totals = [(func.max if name == "largest" else func.sum)(columns[name]) for name in SUMS]
        with self._storage.reading() as session:
            since = int((time_of(session) - hours * HOUR_S) // HOUR_S)
            found = session.execute(
                select(ShadowRow.version, ShadowRow.shadow, *totals)
                .where(ShadowRow.model == model, ShadowRow.hour >= since)
                .group_by(ShadowRow.version, ShadowRow.shadow)
            ).all()
        pairs = [_comparison(row[0], row[1], Sums(int(row[2]), *row[3:])) for row in found]
        return sorted(pairs, key=lambda pair: -pair.rows)


def _comparison(version: str, shadow: str, sums: Sums) -> Comparison:
    return Comparison(
        version=version,
        shadow=shadow,
        rows=sums.rows,
        mean_difference=sums.difference / sums.rows,
        largest_difference=sums.largest,
        correlation=sums.correlation,
        mean_score=sums.a / sums.rows,
        mean_shadow=sums.b / sums.rows,
    )
