"""What the services answer, as frozen values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from llactr_client.call import Service

Role = Literal["reader", "trainer", "admin"]
FINAL_STATES = ("succeeded", "failed", "cancelled")


@dataclass(frozen=True)
class Job:
    """A job of one service. `progress` is 0..1, `eta_s` the seconds left, `loss` that of the last step."""

    service: Service
    id: str
    state: str
    kind: str = ""
    stage: str = ""
    progress: float = 0.0
    step: int | None = None
    loss: float | None = None
    eta_s: float | None = None
    created_at: str = ""
    result: Mapping[str, object] | None = None
    error: Mapping[str, object] | None = None

    @property
    def ended(self) -> bool:
        """True once the state is succeeded, failed or cancelled."""
        return self.state in FINAL_STATES


@dataclass(frozen=True)
class SchemaInfo:
    """A schema as the LLM service knows it. `created` is True where the call made it (or a new version of it).

    `extension` is the job that adds the fields which the current table lacks, where registering it began one.
    """

    name: str
    fingerprint: str
    fields: tuple[Mapping[str, object], ...]
    created: bool = False
    extension: Job | None = None


@dataclass(frozen=True)
class Refresh:
    """Answer to a refresh: a job to follow, or (where the recipe exists already) the version at once."""

    job: Job | None = None
    version: str | None = None


@dataclass(frozen=True)
class FieldTable:
    """One version of a schema's field vectors: `vectors` [K][D] in the order of `fields` [K]."""

    schema: str
    version: str
    fields: tuple[str, ...]
    vectors: tuple[tuple[float, ...], ...]
    model: str
    recipe: str = ""
    metrics: Mapping[str, object] = field(default_factory=dict)
    provenance: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class TableVersion:
    """A line in the list of a schema's field tables; `details` holds what else the service tells."""

    version: str
    created_at: str
    aliases: tuple[str, ...]
    details: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Similarity:
    """Cosines [K][K] between the field vectors of one version."""

    fields: tuple[str, ...]
    cosines: tuple[tuple[float, ...], ...]
    version: str = ""


@dataclass(frozen=True)
class Comparison:
    """How field table b differs from a.

    `cosines` are those of each shared field's two vectors, None where the tables come from other models. `change`
    [S][S] holds the cosines between the S shared fields in b less those in a; the largest and the mean absolute
    change over all pairs of fields stand beside it.
    """

    a: str
    b: str
    cosines: Mapping[str, float | None]
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]
    change: tuple[tuple[float, ...], ...]
    largest_change: float
    mean_change: float


@dataclass(frozen=True)
class Alias:
    """Where an alias points now, and where it did before."""

    alias: str
    version: str
    previous: str | None = None
    details: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Embeddings:
    """Vectors [N][D] of N texts."""

    vectors: tuple[tuple[float, ...], ...]
    model: str


@dataclass(frozen=True)
class ApiKey:
    """An API key of one service. `scopes` are the schemas (LLM) or models (CTR) that it is limited to, None is all;
    `rate_per_s` is the most calls a second, None the service's own limit for keys.

    `key` is the key itself, right after it was made; the services keep only its digest.
    """

    service: Service
    id: str
    name: str
    role: str
    scopes: tuple[str, ...] | None
    created_at: str
    revoked_at: str | None = None
    rate_per_s: float | None = None
    key: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class AuditEntry:
    """A call that needed more than reading: by whom (None: no known key), the role it needed, and what came of it."""

    service: Service
    id: str
    at: str
    key_id: str | None
    key_name: str | None
    role: str
    method: str
    path: str
    status: int
    request_id: str


@dataclass(frozen=True)
class Health:
    """Answer of /healthz or /readyz; `status` is 0 where nothing answers."""

    ok: bool
    status: int
    detail: str
