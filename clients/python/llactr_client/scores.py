"""Scores and explanations, and what dataframes they become."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llactr_client.frames import needed


@dataclass(frozen=True)
class Part:
    """A request of its own within a large one: its id, and how many rows it had."""

    request_id: str
    rows: int


@dataclass(frozen=True)
class Scores:
    """Probabilities [B] in the order of the rows, and the model that gave them.

    `arm` is the alias that an experiment chose; `overlay` the digest of the model's rows of later values. `parts` are
    the requests that the rows were sent in; `request_id` is that of the first.
    """

    scores: Sequence[float]
    model: str
    version: str
    request_id: str
    details: tuple[Mapping[str, object], ...] = ()
    arm: str | None = None
    parts: tuple[Part, ...] = ()
    overlay: str | None = None

    def place(self, row: int) -> tuple[str, int]:
        """(request_id, row) by which an Outcome names a row.

        Raises:
            IndexError: there is no such row.
        """
        left = row
        for part in self.parts:
            if 0 <= left < part.rows:
                return part.request_id, left
            left -= part.rows
        raise IndexError(f"there is no row {row}; there are {len(self.scores)}, counted from 0")

    def to_arrow(self) -> Any:
        """A pyarrow.Table with the column score, and with details lists of text beside it.

        Raises:
            ClientError: pyarrow is not installed; the other conversions likewise.
        """
        arrow = needed("pyarrow")
        columns = {"score": arrow.array(self.scores, arrow.float64())}
        names = arrow.list_(arrow.string())
        for name in self.details[0] if self.details else ():
            columns[name] = arrow.array([detail[name] for detail in self.details], names)
        return arrow.table(columns)

    def to_numpy(self) -> Any:
        """A numpy array, float64 [B]."""
        return needed("numpy").asarray(self.scores, "float64")

    def to_pandas(self) -> Any:
        """The table of `to_arrow` as a pandas.DataFrame."""
        needed("pandas")
        return self.to_arrow().to_pandas()

    def to_polars(self) -> Any:
        """The table of `to_arrow` as a polars.DataFrame."""
        return needed("polars").from_arrow(self.to_arrow())


@dataclass(frozen=True)
class FieldPart:
    """What one field adds to the logit: `first_order` (exact) + `deep` (approximate) = `contribution`.

    `value` is known, unseen or missing; `share` is for ranking: contribution plus half of each pair of the field.
    """

    field: str
    value: str
    contribution: float
    first_order: float
    deep: float
    deep_error: float | None
    share: float


@dataclass(frozen=True)
class PairPart:
    """What two fields add together: `fm` + `fie` = `contribution`; exact."""

    fields: tuple[str, str]
    contribution: float
    fm: float
    fie: float


@dataclass(frozen=True)
class ExplainedRow:
    """bias + deep_baseline + the contributions of all fields + those of all pairs = logit."""

    logit: float
    probability: float
    raw_probability: float
    bias: float
    deep_baseline: float
    fields: tuple[FieldPart, ...]
    pairs: tuple[PairPart, ...]


@dataclass(frozen=True)
class Explanation:
    """Explained rows in their order, and the model; `method` says which parts are exact."""

    rows: tuple[ExplainedRow, ...]
    model: str
    version: str
    request_id: str
    arm: str | None
    method: Mapping[str, object]
