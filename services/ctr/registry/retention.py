"""Versions that nobody uses any more: their rows go first, their bundles second, leftovers with the next round."""

import logging
import threading

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from llactr_core.errors import ConflictError, LlactrError, NotFoundError
from services.ctr.registry.bundles import remove_unnamed, sweep
from services.ctr.registry.moves import pointed_at
from services.ctr.registry.store import CHAMPION, Registry, require_model
from services.ctr.registry.tables import AliasRow, VersionRow
from services.ctr.settings import CtrSettings
from services.ctr.values.store import forget as forget_overlay
from services.shared.jobs.job import FINAL, JobRow
from services.shared.storage.clock import time_of

HOUR_S = 3600.0
FIRST_S = 60.0
CHAMPIONS_KEPT = 5

logger = logging.getLogger(__name__)


class Retention:
    """A version is unused when it is none of the newest and none of the last champions, old enough, and nobody's.

    It is somebody's when an alias points at it, or a job that waits or runs names it.

    Args:
        registry: where the versions are.
        settings: `keep_versions` and `keep_hours`.
    """

    def __init__(self, registry: Registry, settings: CtrSettings) -> None:
        self._registry = registry
        self._newest = settings.keep_versions
        self._age_s = settings.keep_hours * HOUR_S

    def unused(self, model: str) -> list[str]:
        """The versions of a model that the rule gives up, the newest first.

        Raises:
            NotFoundError: no such model.
        """
        with self._registry.storage.reading() as session:
            require_model(session, model)
            query = select(VersionRow).where(VersionRow.model == model).order_by(VersionRow.number.desc())
            until = time_of(session) - self._age_s
            old = [row.version for row in session.scalars(query.offset(self._newest)) if row.created_at <= until]
            kept = set(pointed_at(session, model, CHAMPION)[:CHAMPIONS_KEPT])
            kept |= set(_aliases(session, model).values()) | _named_by_jobs(session, model)
            return [version for version in old if version not in kept]

    def prune(self, model: str) -> list[str]:
        """Delete the unused versions of a model; which.

        Raises:
            NotFoundError: no such model.
        """
        deleted = []
        for version in self.unused(model):
            try:
                self.delete(model, version)
            except (ConflictError, NotFoundError):  # somebody has begun to use it, or deleted it, since
                continue
            deleted.append(version)
        return deleted

    def delete(self, model: str, version: str) -> None:
        """Forget a version, and remove its bundle where no other model has it.

        Raises:
            NotFoundError: no such model or version.
            ConflictError: an alias points at it, or a job that waits or runs names it.
        """
        with self._registry.storage.session() as session:
            require_model(session, model, lock=True)
            query = select(VersionRow).where(VersionRow.model == model, VersionRow.version == version)
            row = session.scalars(query).one_or_none()
            if row is None:
                raise NotFoundError(f"model {model!r} has no version {version!r}; see GET /v1/models/{model}/versions")
            aliases = sorted(alias for alias, where in _aliases(session, model).items() if where == version)
            if aliases:
                raise ConflictError(
                    f"version {version} of {model!r} is what {', '.join(map(repr, aliases))} points at; move that "
                    f"first: PUT /v1/admin/models/{model}/aliases/{aliases[0]}"
                )
            if version in _named_by_jobs(session, model):
                raise ConflictError(f"a job that waits or runs needs version {version} of {model!r}; wait or cancel it")
            forget_overlay(session, (model, version))
            session.delete(row)
        remove_unnamed(self._registry, version)

    def run(self, stop: threading.Event) -> None:
        """Prune every model and sweep the folders once an hour, until `stop` is set."""
        pause = FIRST_S
        while not stop.wait(pause):
            pause = HOUR_S
            try:
                pruned = sum(len(self.prune(model.name)) for model in self._registry.models())
                swept = sweep(self._registry)
            except (LlactrError, SQLAlchemyError, OSError) as error:
                logger.warning("unused versions could not be deleted this time: %s", error)
                continue
            if pruned or swept:
                logger.info("deleted %d unused versions and %d folders", pruned, swept)


def _aliases(session: Session, model: str) -> dict[str, str]:
    query = select(AliasRow.alias, AliasRow.version).where(AliasRow.model == model)
    return {row.alias: row.version for row in session.execute(query)}


def _named_by_jobs(session: Session, model: str) -> set[str]:
    """All texts in the requests of jobs on the model that have not ended: versions are among them."""
    is_open = JobRow.state.not_in([state.value for state in FINAL])
    payloads = session.scalars(select(JobRow.payload).where(JobRow.lane == model, is_open))
    requests = [payload.get("request", {}) for payload in payloads]
    return {value for request in requests for value in request.values() if isinstance(value, str)}
