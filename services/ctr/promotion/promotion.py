"""Moves of aliases: the version is verified, the champion's challenger goes before the gate, the reason is recorded."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

from llactr_core.bundle import Bundle
from llactr_core.errors import BundleError, ConflictError, DataError
from llactr_core.scorer import Scorer
from services.ctr.promotion.gate import GateResult, GateRule
from services.ctr.promotion.judge import judge_bundles
from services.ctr.registry.moves import MOVES, Outcome, Why
from services.ctr.registry.records import ModelVersion
from services.ctr.registry.store import CHAMPION, Registry
from services.ctr.settings import CtrSettings

ATTEMPTS = 5

Judge: TypeAlias = Callable[[Path, Path, GateRule], GateResult]
Load: TypeAlias = Callable[[str, str], object]


@dataclass(frozen=True)
class Decision:
    """What became of a wish to move an alias.

    Args:
        moved: whether the alias points at the version; false where the gate refused.
        version: the version that it was about.
        previous: where it pointed before.
        reason: in words.
        gate: the gate's result as JSON, where it was asked.
    """

    moved: bool
    version: str
    previous: str | None
    reason: str
    gate: dict[str, Any] | None = None


def gate_of(settings: CtrSettings) -> GateRule:
    """The rule that the settings give."""
    return GateRule(
        kind=settings.gate_rule,
        margin=settings.gate_margin,
        confidence=settings.gate_confidence,
        ratio_low=settings.gate_ratio_low,
        ratio_high=settings.gate_ratio_high,
    )


class Promotion:
    """Decides about aliases, and moves them.

    Args:
        registry: where they are.
        settings: the gate's rule.
        judge: the gate; in this process where nothing else is said.
        load: loads a version of a model and scores its golden rows; here where nothing else is said.
    """

    def __init__(
        self, registry: Registry, settings: CtrSettings, judge: Judge = judge_bundles, load: Load | None = None
    ) -> None:
        self._registry = registry
        self._rule = gate_of(settings)
        self._judge = judge
        self._load = load or (lambda _model, version: Scorer.load(registry.bundle_path(version)))

    def promote(
        self,
        model: str,
        alias: str,
        version: str,
        *,
        force: bool = False,
        by: str | None = None,
        job: str | None = None,
    ) -> Decision:
        """Point an alias at a version, if the gate lets it pass.

        Only `champion` has a gate: for a version that never was champion, where there is a champion, and without
        `force`. If the champion moves meanwhile, the version is judged again, against the new one.

        Args:
            model: its name.
            alias: the alias to move.
            version: a version, or an alias that points at it.
            force: do not ask the gate.
            by: the name of the key or schedule behind it.
            job: the id of the job behind it.

        Raises:
            NotFoundError: no such model or version.
            ConflictError: the bundle is damaged or of another schema, or others move the alias all the time.
            UnavailableError: the gate did not come to a decision.
        """
        wanted = self._registry.get(model, version)
        self._verify(model, wanted, alias)
        for _ in range(ATTEMPTS):
            before = self._registry.aliases().get(model, {}).get(alias)
            result = None
            reason = self._reason_without_gate(model, alias, wanted.version, before, force, job)
            if reason is None and before is not None:
                result = self._judged(model, wanted.version, before)
                reason = result.reason
            moved = result is None or result.passed
            gate = None if result is None else result.as_json()
            why = Why(reason or "", Outcome.MOVED if moved else Outcome.REFUSED, gate, by, job)
            try:
                self._registry.set_alias(model, alias, wanted.version, why, if_at=before)
            except ConflictError:
                continue
            return Decision(moved, wanted.version, before, why.reason, gate)
        raise ConflictError(
            f"{alias!r} of {model!r} kept moving while {wanted.version} was judged; send the call again"
        )

    def roll_back(self, model: str, by: str | None = None, *, leaving: str | None = None) -> Decision:
        """Point `champion` at the champion before; once more, at the one before that. No gate is asked.

        Args:
            model: its name.
            by: the name of the key behind it.
            leaving: the version that has to be the champion until then; any where None.

        Raises:
            NotFoundError: no such model.
            ConflictError: there is none before, its bundle is damaged, another one than `leaving` is the champion, or
                it moves at this moment.
        """
        trail = self._registry.trail(model)
        present = self._registry.aliases().get(model, {}).get(CHAMPION)
        if leaving is not None and present != leaving:
            raise ConflictError(f"the champion of {model!r} is {present}, not {leaving}; nothing was rolled back")
        if len(trail) < 2:
            raise ConflictError(
                f"model {model!r} has no champion before the present one to go back to; "
                f"PUT /v1/admin/models/{model}/aliases/{CHAMPION} promotes any version"
            )
        target, champion = trail[-2:]
        self._verify(model, self._registry.get(model, target), CHAMPION)
        why = Why(f"rolled back from {champion}", Outcome.ROLLED_BACK, by=by)
        self._registry.set_alias(model, CHAMPION, target, why, if_at=champion)
        return Decision(True, target, champion, why.reason)

    def decision_of(self, job: str, alias: str) -> Decision | None:
        """The last decision about an alias that a job came to, or None."""
        move = self._registry.decision_of(job, alias)
        if move is None:
            return None
        return Decision(move.outcome in MOVES, move.version, move.previous, move.reason, move.gate)

    def _reason_without_gate(
        self, model: str, alias: str, version: str, before: str | None, force: bool, job: str | None
    ) -> str | None:
        """Why the gate has nothing to say; None where it has. Who was champion before may come back by hand only."""
        if alias != CHAMPION:
            return "the alias was set"
        if before is None:
            return "the model's first champion"
        if version == before:
            return "it is the champion already"
        if job is None and version in self._registry.champions(model):
            return "it was champion before, so the gate was not asked"
        return "forced: the gate was not asked" if force else None

    def _judged(self, model: str, version: str, champion: str) -> GateResult:
        for gate in self._registry.judged(model, version, champion):
            if gate.get("rule") == asdict(self._rule) and gate.get("champion") == champion:
                return GateResult.of_json(gate)
        paths = self._registry.bundle_path(version), self._registry.bundle_path(champion)
        try:
            return self._judge(*paths, self._rule)
        except (BundleError, DataError) as error:
            raise _unfit(model, version, CHAMPION, error.detail) from error

    def _verify(self, model: str, wanted: ModelVersion, alias: str) -> None:
        version = wanted.version
        try:
            bundle = Bundle.open(self._registry.bundle_path(version))
            self._load(model, version)
        except BundleError as error:
            raise _unfit(model, version, alias, error.detail) from error
        if bundle.version != version:
            raise _unfit(model, version, alias, f"its bundle says that it is {bundle.version}")
        if bundle.schema.fingerprint != wanted.lineage.schema_fingerprint:
            raise _unfit(model, version, alias, "its bundle has another schema than it was registered with")


def _unfit(model: str, version: str, alias: str, reason: str) -> ConflictError:
    return ConflictError(f"version {version} of {model!r} is not fit to serve: {reason}; alias {alias!r} was not moved")
