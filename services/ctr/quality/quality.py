"""How good a model's versions are on live traffic: logged scores against the labels that came, and drift."""

import math
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict
from pydantic import Field as Setting
from sqlalchemy import ColumnElement, Select, and_, case, exists, func, or_, select, union_all
from sqlalchemy.orm import Session, aliased

from llactr_core.data.reference import psi
from llactr_core.metrics.probability import expected_calibration_error, log_loss
from llactr_core.metrics.ranking import auc
from services.ctr.quality.outcomes import ANY_MODEL, ways_to_name
from services.ctr.traffic.drift import SCORES, DriftCounts, References
from services.ctr.traffic.tables import HOUR_S, OutcomeRow, ScoreRow
from services.shared.storage.clock import time_of
from services.shared.storage.storage import Storage

FETCHED = 10_000
_NUMBERS: dict[str, Any] = {
    "rows": 9120,
    "labelled": 8000,
    "clicks": 570,
    "predicted": 581.3,
    "auc": 0.783,
    "logloss": 0.221,
    "ece": 0.006,
    "predicted_over_true": 1.02,
}
EXAMPLE: dict[str, Any] = {
    "model": "bank-marketing",
    "window_hours": 24,
    "capped": False,
    "versions": [{**_NUMBERS, "version": "5f0c1a9be2d4", "shadow": False, "arms": {"champion": _NUMBERS}}],
    "drift": [{"version": "5f0c1a9be2d4", "rows": 9120, "scores": 0.012, "fields": {"age": 0.02, "job": 0.31}}],
    "outcomes": {"received": 8100, "unmatched": 100},
}

Group: TypeAlias = tuple[str, bool, str | None]  # version, whether it was a shadow, arm


class Numbers(BaseModel):
    """Logged scores and, of those that have labels, how good they are; null where that is not defined."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rows: int = Setting(description="Logged rows.")
    labelled: int = Setting(description="Rows that have a label, up to the cap of all together.")
    clicks: int = Setting(description="Of those, the rows with label 1.")
    predicted: float = Setting(description="Of those, the sum of the scores.")
    auc: float | None
    logloss: float | None
    ece: float | None = Setting(description="Expected calibration error, 15 bins of equal mass.")
    predicted_over_true: float | None


class VersionQuality(Numbers):
    """One version's rows: those that it answered, or those that it scored as a shadow."""

    version: str
    shadow: bool
    arms: dict[str, Numbers] = Setting(description="The rows that an experiment gave to it, by alias.")


class Drift(BaseModel):
    """Population stability indices of a version between its held-out rows and the logged ones."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: str
    rows: int
    scores: float
    fields: dict[str, float]


class Labels(BaseModel):
    """The labels that came, and how many of them name no logged score."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    received: int = Setting(description="Up to the cap, the newest.")
    unmatched: int


class LiveQuality(BaseModel):
    """The live quality of a model."""

    model_config = ConfigDict(frozen=True, extra="forbid", json_schema_extra={"example": EXAMPLE})

    model: str
    window_hours: float
    capped: bool = Setting(description="Whether there are more labelled rows than were looked at: the newest were.")
    versions: tuple[VersionQuality, ...]
    drift: tuple[Drift, ...]
    outcomes: Labels


@dataclass(frozen=True)
class _Labelled:
    """Scores [B] with their labels [B], and the group of each row [B] as a position in `groups`."""

    groups: Sequence[Group]
    which: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float64]
    labels: npt.NDArray[np.float64]

    def of(self, wanted: Set[Group]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        rows = np.isin(self.which, [i for i, group in enumerate(self.groups) if group in wanted])
        return self.scores[rows], self.labels[rows]


class Quality:
    """Reads live quality.

    Args:
        storage: the database.
        bundle_path: where the bundle of a version lies.
        most_rows: the most labelled rows, and the most labels, that are looked at: the newest.
    """

    def __init__(self, storage: Storage, bundle_path: Callable[[str], Path], most_rows: int) -> None:
        self._storage = storage
        self._bundle_path = bundle_path
        self._most = most_rows
        self._drift = DriftCounts(storage)

    def of(self, model: str, hours: float, version: str | None = None) -> LiveQuality:
        """The quality over the last hours, of one version or of all.

        Raises:
            UnavailableError: the database does not answer, or not in time: ask for fewer hours.
        """
        return self.scored(model, hours, version).model_copy(update={"drift": self.drift(model, hours, version)})

    def scored(self, model: str, hours: float, version: str | None = None) -> LiveQuality:
        """What `of` gives, without the drift.

        Raises:
            UnavailableError: the database does not answer, or not in time.
        """
        with self._storage.reading() as session:
            since = time_of(session) - hours * HOUR_S
            scope = [ScoreRow.model == model, ScoreRow.at >= since]
            if version is not None:
                scope.append(ScoreRow.version == version)
            counts = _counts(session, scope)
            labelled = self._labelled(session, model, scope)
            outcomes = self._outcomes(session, model, since)
        return LiveQuality(
            model=model,
            window_hours=hours,
            capped=self._most in (len(labelled.scores), outcomes.received),
            versions=_versions(counts, labelled),
            drift=(),
            outcomes=outcomes,
        )

    def drift(self, model: str, hours: float, version: str | None = None) -> tuple[Drift, ...]:
        """The drift of one version or of all; it needs no labels.

        Raises:
            UnavailableError: the database does not answer.
        """
        return tuple(self._drifted(self._drift.read(model, hours), version))

    def _labelled(self, session: Session, model: str, scope: Sequence[ColumnElement[bool]]) -> _Labelled:
        groups: dict[Group, int] = {}
        parts: list[npt.NDArray[np.float64]] = [np.empty((0, 3))]
        for rows in session.execute(_last_labels(model, scope, self._most)).partitions(FETCHED):
            found = [(groups.setdefault((v, bool(s), a), len(groups)), score, label) for v, s, a, score, label in rows]
            parts.append(np.array(found, np.float64))
        table = np.concatenate(parts)
        return _Labelled(tuple(groups), table[:, 0].astype(np.int64), table[:, 1], table[:, 2])

    def _outcomes(self, session: Session, model: str, since: float) -> Labels:
        same_model = or_(OutcomeRow.model == ANY_MODEL, OutcomeRow.model == ScoreRow.model)
        scored = or_(*(exists().where(way, same_model).correlate(OutcomeRow) for way in ways_to_name(OutcomeRow)))
        newest = (
            select(scored.label("matched"))
            .where(OutcomeRow.model.in_([ANY_MODEL, model]), OutcomeRow.at >= since)
            .order_by(OutcomeRow.at.desc())
            .limit(self._most)
            .subquery()
        )
        received, matched = session.execute(select(func.count(), func.sum(case((newest.c.matched, 1), else_=0)))).one()
        return Labels(received=received, unmatched=received - int(matched or 0))

    def _drifted(self, found: Mapping[str, Mapping[str, Mapping[int, int]]], version: str | None) -> list[Drift]:
        references, drifted = References(), []
        for name, fields in sorted(found.items()):
            reference = references.of(self._bundle_path(name)) if version in (None, name) else None
            if reference is None:
                continue
            expected = {**reference.fields, SCORES: reference.scores}
            indices = {
                field: psi(counts, _as_bins(fields[field], len(counts)))
                for field, counts in expected.items()
                if field in fields
            }
            rows = sum(fields.get(SCORES, {}).values())
            drifted.append(Drift(version=name, rows=rows, scores=indices.pop(SCORES, 0.0), fields=indices))
        return drifted


def _last_labels(model: str, scope: Sequence[ColumnElement[bool]], most: int) -> Select[Any]:
    """(version, shadow, arm, score, label) of the newest scores that the newest outcomes name, with the last label."""
    newest = (
        select(OutcomeRow)
        .where(OutcomeRow.model.in_([ANY_MODEL, model]))
        .order_by(OutcomeRow.at.desc())
        .limit(most)
        .cte("newest")
    )
    outcome = aliased(OutcomeRow, newest)
    columns = (ScoreRow.version, ScoreRow.shadow, ScoreRow.arm, ScoreRow.score, ScoreRow.request_id, ScoreRow.row)
    # As a CASE no index serves the scope: SQLite would scan all scores of the model, each against every outcome.
    in_scope = case((and_(*scope), 1), else_=0) == 1
    named = union_all(
        *(
            select(*columns, ScoreRow.at, outcome.label, outcome.at.label("labelled_at"))
            .join_from(outcome, ScoreRow, way)
            .where(in_scope)
            for way in ways_to_name(outcome)
        )
    ).subquery()
    found = named.c
    last_first = func.row_number().over(
        partition_by=(found.request_id, found.row, found.version),
        order_by=(found.labelled_at.desc(), found.label.desc()),
    )
    ranked = select(named, last_first.label("place")).subquery().c
    return (
        select(ranked.version, ranked.shadow, ranked.arm, ranked.score, ranked.label)
        .where(ranked.place == 1)
        .order_by(ranked.at.desc())
        .limit(most)
    )


def _counts(session: Session, scope: Sequence[ColumnElement[bool]]) -> dict[Group, int]:
    columns = (ScoreRow.version, ScoreRow.shadow, ScoreRow.arm)
    rows = session.execute(select(*columns, func.count()).where(*scope).group_by(*columns))
    return {(version, bool(shadow), arm): count for version, shadow, arm, count in rows}


def _versions(counts: Mapping[Group, int], labelled: _Labelled) -> tuple[VersionQuality, ...]:
    pairs = sorted({group[:2] for group in counts})
    return tuple(_version(version, shadow, counts, labelled) for version, shadow in pairs)


def _version(version: str, shadow: bool, counts: Mapping[Group, int], labelled: _Labelled) -> VersionQuality:
    own = {arm: rows for (v, s, arm), rows in counts.items() if (v, s) == (version, shadow)}
    arms = {arm: _numbers(own[arm], *labelled.of({(version, shadow, arm)})) for arm in sorted(filter(None, own))}
    together = _numbers(sum(own.values()), *labelled.of({(version, shadow, arm) for arm in own}))
    return VersionQuality.model_validate({**together.model_dump(), "version": version, "shadow": shadow, "arms": arms})


def _numbers(rows: int, scores: npt.NDArray[np.float64], labels: npt.NDArray[np.float64]) -> Numbers:
    clicks, predicted, is_any = int(labels.sum()), float(scores.sum()), len(labels) > 0
    ranking = auc(labels, scores) if is_any else math.nan
    return Numbers(
        rows=max(rows, len(labels)),
        labelled=len(labels),
        clicks=clicks,
        predicted=predicted,
        auc=None if math.isnan(ranking) else ranking,
        logloss=log_loss(labels, scores) if is_any else None,
        ece=expected_calibration_error(labels, scores) if is_any else None,
        predicted_over_true=predicted / clicks if clicks else None,
    )


def _as_bins(counts: Mapping[int, int], bins: int) -> npt.NDArray[np.int64]:
    found = np.zeros(bins, np.int64)
    for number, rows in counts.items():
        if number < bins:
            found[number] = rows
    return found
