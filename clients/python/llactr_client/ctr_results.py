"""What the CTR service answers about models and their traffic, as frozen values."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class ModelInfo:
    """A registered model: alias -> version, and its versions."""

    name: str
    aliases: Mapping[str, str]
    versions: tuple[str, ...]


@dataclass(frozen=True)
class ModelVersion:
    """A version of a model: where it comes from (`lineage`), how good it is (`metrics`), and its aliases."""

    version: str
    created_at: str
    aliases: tuple[str, ...]
    lineage: Mapping[str, object]
    metrics: Mapping[str, object]


@dataclass(frozen=True)
class Move:
    """One decision about an alias; `outcome` is moved, refused, rolled-back or removed, `gate` its numbers."""

    number: int
    alias: str
    version: str
    previous: str | None
    outcome: str
    reason: str
    gate: Mapping[str, object] | None
    by: str | None
    job: str | None
    at: str


@dataclass(frozen=True)
class FieldValues:
    """What came of the values of one field: added, known before, or refused (value -> reason)."""

    added: tuple[str, ...]
    known: tuple[str, ...]
    refused: Mapping[str, str]


@dataclass(frozen=True)
class AddedValues:
    """What came of values by field, and the overlay that the version has then: its digest and number of rows."""

    version: str
    overlay: str
    rows: int
    fields: Mapping[str, FieldValues]


@dataclass(frozen=True)
class LaterValue:
    """A value that was added after training; `source` is admin or background."""

    number: int
    field: str
    value: str
    source: str
    at: str


@dataclass(frozen=True)
class LaterValues:
    """The overlay of a version, or a part of it."""

    version: str
    overlay: str
    rows: int
    values: tuple[LaterValue, ...]


@dataclass(frozen=True)
class Shadow:
    """An alias that scores a share (0 to 1) of the requests beside the one that answers."""

    alias: str
    share: float


@dataclass(frozen=True)
class TrafficPlan:
    """Who answers (`arms`: alias -> weight), who is compared, and the share of the requests that is logged.

    Another `salt` deals the routing keys out anew; `log_share` None leaves it to the service's setting.
    """

    arms: Mapping[str, float] = field(default_factory=lambda: {"champion": 1.0})
    salt: str = ""
    shadow: Shadow | None = None
    log_share: float | None = None


@dataclass(frozen=True)
class ShadowPair:
    """How `shadow` scored the rows that `version` answered; `correlation` is None where one of them never varied."""

    version: str
    shadow: str
    rows: int
    mean_difference: float
    largest_difference: float
    correlation: float | None
    mean_score: float
    mean_shadow: float


@dataclass(frozen=True)
class Numbers:
    """Logged rows, and how good the scores of those with labels are; None where that is not defined."""

    rows: int
    labelled: int
    clicks: int
    predicted: float
    auc: float | None
    logloss: float | None
    ece: float | None
    predicted_over_true: float | None


@dataclass(frozen=True)
class VersionQuality:
    """The rows that a version answered, or (`shadow`) scored beside another; `arms` by the alias of an experiment."""

    version: str
    shadow: bool
    numbers: Numbers
    arms: Mapping[str, Numbers]


@dataclass(frozen=True)
class Drift:
    """Population stability indices between a version's held-out rows and the logged ones: scores, and by field."""

    version: str
    rows: int
    scores: float
    fields: Mapping[str, float]


@dataclass(frozen=True)
class Quality:
    """The live quality of a model; `capped` says that there are more labelled rows than were looked at."""

    model: str
    window_hours: float
    capped: bool
    versions: tuple[VersionQuality, ...]
    drift: tuple[Drift, ...]
    labels_received: int
    labels_unmatched: int


@dataclass(frozen=True)
class Outcome:
    """The label (0 or 1) of a scored row, which is named by the request and its row, or by the caller's row_id."""

    label: int
    request_id: str | None = None
    row: int | None = None
    row_id: str | int | None = None
    model: str | None = None


@dataclass(frozen=True)
class Schedule:
    """When a model is refreshed, how (`request`), when that is due next, and the last job that it started."""

    model: str
    every_hours: float | None
    on_new_table: bool
    request: Mapping[str, object]
    next_at: str | None
    tried_table: str | None
    last_job: str | None
    updated_at: str
