"""The model registry: immutable versions with their lineage, and aliases that move atomically.

A version is the content hash of its bundle; the bundle lies under `<bundles>/<version>/`. Registering the same
version twice is the same as once, so a job that was killed after registering may simply register again.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from llactr_core.errors import ConflictError, NotFoundError
from services.ctr.registry import moves
from services.ctr.registry.moves import Outcome, Why
from services.ctr.registry.records import Lineage, ModelSummary, ModelVersion, Move
from services.ctr.registry.tables import AliasRow, ModelRow, VersionRow
from services.ctr.traffic.tables import TrafficRow, named_by
from services.shared.jobs.job import iso
from services.shared.storage.clock import time_of
from services.shared.storage.storage import Storage

CHAMPION = "champion"
PREVIOUS = "previous"
ANYWHERE = "*"
SET = Why()
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$"


class Registry:
    """Reads and writes the registry. Every method is one transaction."""

    def __init__(self, storage: Storage, bundles: Path) -> None:
        self.storage = storage
        self.bundles = bundles

    def bundle_path(self, version: str) -> Path:
        """The directory of a version's bundle."""
        return self.bundles / version

    def register(self, model: str, version: str, lineage: Lineage, metrics: Mapping[str, Any]) -> ModelVersion:
        """Add a version to a model, which is made when it is new. An equal version that exists is left as it is."""
        try:
            self._insert(model, version, lineage, metrics)
        except IntegrityError:
            # Another worker made the model between our look and our insert: look again.
            self._insert(model, version, lineage, metrics)
        return self.get(model, version)

    def _insert(self, model: str, version: str, lineage: Lineage, metrics: Mapping[str, Any]) -> None:
        with self.storage.session() as session:
            if session.get(ModelRow, model, with_for_update=True) is None:
                session.add(ModelRow(name=model, created_at=time_of(session)))
                session.flush()
            if _version_row(session, model, version) is None:
                row = VersionRow(
                    model=model,
                    version=version,
                    created_at=time_of(session),
                    lineage=lineage.model_dump(mode="json"),
                    metrics=dict(metrics),
                )
                session.add(row)

    def models(self) -> list[ModelSummary]:
        """All models by name."""
        with self.storage.reading() as session:
            names = list(session.scalars(select(ModelRow.name).order_by(ModelRow.name)))
            aliases = _aliases(session)
            versions: dict[str, list[str]] = {name: [] for name in names}
            rows = session.execute(select(VersionRow.model, VersionRow.version).order_by(VersionRow.number.desc()))
            for name, version in rows:
                versions[name].append(version)
        return [ModelSummary(name=n, aliases=aliases.get(n, {}), versions=versions[n]) for n in names]

    def versions(self, model: str) -> list[ModelVersion]:
        """The versions of a model, the newest first.

        Raises:
            NotFoundError: no such model.
        """
        with self.storage.reading() as session:
            require_model(session, model)
            aliases = _aliases(session).get(model, {})
            rows = session.scalars(
                select(VersionRow).where(VersionRow.model == model).order_by(VersionRow.number.desc())
            )
            return [_public(row, aliases) for row in rows]

    def get(self, model: str, version: str) -> ModelVersion:
        """One version of a model, by its version or an alias.

        Raises:
            NotFoundError: no such model, version or alias.
        """
        with self.storage.reading() as session:
            require_model(session, model)
            aliases = _aliases(session).get(model, {})
            row = _version_row(session, model, version)
            if row is None and version in aliases:
                row = _version_row(session, model, aliases[version])
            if row is None:
                raise NotFoundError(
                    f"model {model!r} has no version or alias {version!r}; "
                    f"GET /v1/models/{model}/versions lists what it has"
                )
            return _public(row, aliases)

    def aliases(self) -> dict[str, dict[str, str]]:
        """Model -> alias -> version, of every model that has an alias."""
        with self.storage.reading() as session:
            return _aliases(session)

    def set_alias(
        self, model: str, alias: str, version: str, why: Why = SET, *, if_at: str | None = ANYWHERE
    ) -> str | None:
        """Point an alias at a version, atomically, and return the version that it pointed at before.

        Where `champion` really moves, the version before stays reachable as `previous`. What is decided is written
        down with it; a decision not to move (`Outcome.REFUSED`) is only written down.

        Args:
            model: its name.
            alias: any name.
            version: where it shall point.
            why: the decision.
            if_at: where it must point until now (None: nowhere), because the decision rests on that.

        Raises:
            NotFoundError: no such model or version.
            ConflictError: the alias points elsewhere than `if_at`.
        """
        with self.storage.session() as session:
            require_model(session, model, lock=True)
            if _version_row(session, model, version) is None:
                raise NotFoundError(f"model {model!r} has no version {version!r}; see GET /v1/models/{model}/versions")
            row = session.get(AliasRow, (model, alias))
            before = None if row is None else row.version
            if if_at not in (ANYWHERE, before):
                raise ConflictError(f"{alias!r} of {model!r} has moved to {before} in the meantime; look at it again")
            if why.outcome in moves.MOVES:
                _point(session, model, alias, version)
                if alias == CHAMPION and before is not None and before != version:
                    _point(session, model, PREVIOUS, before)
            moves.note(session, model, alias, version, before, why)
            return before

    def remove_alias(self, model: str, alias: str, by: str | None) -> str:
        """Forget an alias; the version that it pointed at.

        Raises:
            NotFoundError: no such model or alias.
            ConflictError: the alias is kept by the service itself, or a traffic plan names it.
        """
        if alias in (CHAMPION, PREVIOUS):
            raise ConflictError(f"{alias!r} cannot be removed: the service keeps it; move it instead")
        with self.storage.session() as session:
            require_model(session, model, lock=True)
            row = session.get(AliasRow, (model, alias))
            if row is None:
                raise NotFoundError(f"model {model!r} has no alias {alias!r}; see GET /v1/models/{model}/versions")
            plan = session.get(TrafficRow, model)
            if plan is not None and alias in named_by(plan.plan):
                raise ConflictError(
                    f"{alias!r} is named by the traffic plan of {model!r}; first PUT a plan without it to, or DELETE, "
                    f"/v1/admin/models/{model}/traffic"
                )
            session.delete(row)
            moves.note(
                session, model, alias, row.version, row.version, Why("the alias was removed", Outcome.REMOVED, by=by)
            )
            return row.version

    def history(self, model: str, limit: int, before: int | None = None) -> list[Move]:
        """The decisions about a model's aliases, the newest first; those older than the number `before`.

        Raises:
            NotFoundError: no such model.
        """
        with self.storage.reading() as session:
            require_model(session, model)
            return moves.decisions(session, model, limit, before)

    def decision_of(self, job: str, alias: str) -> Move | None:
        """The last decision about an alias that a job came to."""
        with self.storage.reading() as session:
            return moves.decision_of(session, job, alias)

    def judged(self, model: str, version: str, champion: str) -> list[dict[str, Any]]:
        """What the gate found about a version against a champion, the newest first."""
        with self.storage.reading() as session:
            return moves.judged(session, model, CHAMPION, version, champion)

    def champions(self, model: str) -> list[str]:
        """Every version that was champion, the last one first."""
        with self.storage.reading() as session:
            return moves.pointed_at(session, model, CHAMPION)

    def trail(self, model: str) -> list[str]:
        """The champions one after the other, the present one last, roll backs undone."""
        with self.storage.reading() as session:
            require_model(session, model)
            return moves.trail(session, model, CHAMPION)


def require_semantics(model: str, champion: ModelVersion) -> None:
    """Refuse a model whose champion has no field semantics to refresh.

    Raises:
        ConflictError: it was trained with enhancer "none", or with a language model that the train job tuned.
    """
    if not champion.lineage.has_semantics:
        raise ConflictError(
            f"the champion {champion.version} of {model!r} was trained without field semantics; train a version with "
            f"enhancer 'llactr' (POST /v1/admin/models/{model}/train) and promote it first"
        )


def _point(session: Session, model: str, alias: str, version: str) -> None:
    row = session.get(AliasRow, (model, alias))
    if row is None:
        session.add(AliasRow(model=model, alias=alias, version=version, updated_at=time_of(session)))
    elif row.version != version:
        row.version = version
        row.updated_at = time_of(session)


def require_model(session: Session, model: str, *, lock: bool = False) -> None:
    """Let a model pass that exists; with `lock`, be the only one who changes its aliases until the transaction ends.

    Raises:
        NotFoundError: no such model.
    """
    # The lock orders alias moves of one model on PostgreSQL; SQLite has one writer at a time anyway.
    if session.get(ModelRow, model, with_for_update=lock or None) is None:
        raise NotFoundError(
            f"there is no model {model!r}; GET /v1/models lists yours, POST /v1/admin/models/NAME/train makes one"
        )


def _version_row(session: Session, model: str, version: str) -> VersionRow | None:
    return session.scalars(
        select(VersionRow).where(VersionRow.model == model, VersionRow.version == version)
    ).one_or_none()


def _aliases(session: Session) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for model, alias, version in session.execute(select(AliasRow.model, AliasRow.alias, AliasRow.version)):
        found.setdefault(model, {})[alias] = version
    return found


def _public(row: VersionRow, aliases: Mapping[str, str]) -> ModelVersion:
    return ModelVersion(
        version=row.version,
        created_at=iso(row.created_at) or "",
        lineage=Lineage.model_validate(row.lineage),
        metrics=row.metrics,
        aliases=sorted(alias for alias, version in aliases.items() if version == row.version),
    )
