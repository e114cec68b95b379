"""The end of a job that made a version: champion if it may be, else challenger; decided once per job."""

from dataclasses import dataclass
from typing import Any

from services.ctr.promotion.promotion import Promotion
from services.ctr.registry.store import CHAMPION, Registry
from services.shared.jobs.job import Job

CHALLENGER = "challenger"
NOT_ASKED = "promotion was not asked for"


@dataclass(frozen=True)
class Verdict:
    """What became of the version: whether it is the champion, why, and the gate's numbers where it looked."""

    promoted: bool
    reason: str
    gate: dict[str, Any] | None = None


def settle(
    promotion: Promotion, registry: Registry, job: Job, model: str, version: str, *, promote: bool, force: bool
) -> Verdict:
    """Promote the version, or keep it as the challenger, which shadow traffic and experiments can name.

    A model without a champion gets its first one in any case. A job that was killed after its decision keeps to it,
    whatever happened to the alias in the meantime.

    Raises:
        NotFoundError: the version is gone.
    """
    decided = promotion.decision_of(job.id, CHAMPION)
    asked = promote or CHAMPION not in registry.aliases().get(model, {})
    if decided is None and asked:
        by = job.payload.get("by")
        decided = promotion.promote(model, CHAMPION, version, force=force, by=by, job=job.id)
    if decided is not None and decided.moved:
        return Verdict(True, decided.reason, decided.gate)
    champion = registry.aliases().get(model, {}).get(CHAMPION)
    if champion != version:
        promotion.promote(model, CHALLENGER, version, job=job.id)
    if decided is None:
        return Verdict(champion == version, NOT_ASKED)
    return Verdict(champion == version, decided.reason, decided.gate)
