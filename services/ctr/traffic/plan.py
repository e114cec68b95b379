"""What happens to a model's requests: which alias answers, which one is compared, and how much is written down."""

import hashlib
import math
import sys
from collections.abc import Mapping
from typing import Self

from pydantic import BaseModel, ConfigDict, model_validator
from pydantic import Field as Setting
from sqlalchemy import delete, select

from llactr_core.errors import NotFoundError
from services.ctr.registry.store import CHAMPION, NAME_PATTERN, Registry, require_model
from services.ctr.registry.tables import AliasRow
from services.ctr.traffic.tables import TrafficRow, named_by
from services.shared.storage.clock import time_of
from services.shared.storage.storage import Storage
from services.shared.storage.upsert import insert_into

MOST_ARMS = 10


class Arm(BaseModel):
    """One alias of an experiment, and how much of the traffic it answers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    alias: str = Setting(pattern=NAME_PATTERN)
    weight: float = Setting(gt=0, le=1e6, description="In proportion to the other arms; shown so that all sum to 1.")


class Shadow(BaseModel):
    """An alias that scores a share of the requests too; nobody is answered with its scores."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    alias: str = Setting(pattern=NAME_PATTERN)
    share: float = Setting(gt=0, le=1, description="Of the requests, sampled by request.")


class TrafficPlan(BaseModel):
    """The plan of one model."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        json_schema_extra={
            "example": {
                "arms": [{"alias": "champion", "weight": 0.9}, {"alias": "challenger", "weight": 0.1}],
                "salt": "autumn",
                "shadow": {"alias": "challenger", "share": 0.1},
                "log_share": 0.05,
            }
        },
    )

    arms: tuple[Arm, ...] = Setting(
        default=(Arm(alias=CHAMPION, weight=1),), min_length=1, max_length=MOST_ARMS, description="Who answers."
    )
    salt: str = Setting(default="", max_length=100, description="Another salt deals the routing keys out anew.")
    shadow: Shadow | None = Setting(default=None, description="Who is compared; null for nobody.")
    log_share: float | None = Setting(
        default=None, ge=0, le=1, description="Share of the requests whose scores are logged; null for the setting's."
    )

    @model_validator(mode="after")
    def _arms_differ(self) -> Self:
        aliases = [arm.alias for arm in self.arms]
        if len(set(aliases)) < len(aliases):
            raise ValueError(f"each alias may be one arm only; given: {', '.join(aliases)}")
        return self

    def aliases(self) -> set[str]:
        """Every alias that the plan names."""
        return named_by(self.model_dump())

    def normalised(self) -> "TrafficPlan":
        """The same plan with weights that sum to 1; none becomes 0, however small it is."""
        total = sum(arm.weight for arm in self.arms)
        arms = tuple(Arm(alias=a.alias, weight=max(a.weight / total, sys.float_info.min)) for a in self.arms)
        return self.model_copy(update={"arms": arms})

    def arm(self, model: str, key: str) -> str | None:
        """The alias that answers this routing key; None where the champion answers all.

        Weighted rendezvous hashing (Thaler & Ravishankar, 1998; Schindelhauer & Schomaker, 2005): every arm draws a
        number from the key, and the smallest one wins. An arm that gains weight takes keys from the others in
        proportion, and no key moves between two arms whose relation stays; nor does the arms' order matter.
        """
        if len(self.arms) == 1:
            alias = self.arms[0].alias
            return None if alias == CHAMPION else alias
        draws = ((-math.log1p(-place_of(self.salt, model, key, a.alias)) / a.weight, a.alias) for a in self.arms)
        return min(draws)[1]


def place_of(*parts: str) -> float:
    """A number in [0, 1) that depends on the parts alone: equal in every process and on every day."""
    text = "\x00".join(parts).encode("utf-8", "surrogatepass")
    return (int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") >> 11) / 2**53


class Plans:
    """The plans of all models, in SQL. Every method is one transaction and raises UnavailableError while it cannot."""

    def __init__(self, storage: Storage, registry: Registry, log_share: float = 0.0) -> None:
        self._storage = storage
        self._registry = registry
        self._log_share = log_share

    def read(self) -> Mapping[str, TrafficPlan]:
        """The plan of every model that has one, complete."""
        with self._storage.reading() as session:
            rows = session.execute(select(TrafficRow.model, TrafficRow.plan)).all()
        return {model: self._complete(TrafficPlan.model_validate(plan)) for model, plan in rows}

    def of(self, model: str) -> TrafficPlan:
        """The model's plan, or the default one.

        Raises:
            NotFoundError: no such model.
        """
        self._registry.versions(model)
        return self.read().get(model, self.default())

    def default(self) -> TrafficPlan:
        """The champion answers all, nobody is compared."""
        return self._complete(TrafficPlan())

    def write(self, model: str, plan: TrafficPlan) -> TrafficPlan:
        """Replace the model's plan.

        Raises:
            NotFoundError: no such model, or it lacks an alias of the plan.
        """
        kept = plan.normalised()
        with self._storage.session() as session:
            require_model(session, model, lock=True)  # no alias of the plan is removed meanwhile
            known = set(session.scalars(select(AliasRow.alias).where(AliasRow.model == model)))
            unknown = sorted(plan.aliases() - known)
            if unknown:
                raise NotFoundError(
                    f"model {model!r} has no alias {', '.join(map(repr, unknown))}; it has: "
                    f"{', '.join(sorted(known)) or 'none'}. PUT /v1/admin/models/{model}/aliases/{unknown[0]} makes one"
                )
            row = {"model": model, "plan": kept.model_dump(mode="json"), "updated_at": time_of(session)}
            insert = insert_into(session, TrafficRow)
            changed = {name: insert.excluded[name] for name in ("plan", "updated_at")}
            session.execute(insert.on_conflict_do_update(index_elements=["model"], set_=changed), row)
        return self._complete(kept)

    def remove(self, model: str) -> TrafficPlan:
        """Go back to the default plan.

        Raises:
            NotFoundError: no such model.
        """
        self._registry.versions(model)
        with self._storage.session() as session:
            session.execute(delete(TrafficRow).where(TrafficRow.model == model))
        return self.default()

    def _complete(self, plan: TrafficPlan) -> TrafficPlan:
        return plan if plan.log_share is not None else plan.model_copy(update={"log_share": self._log_share})
