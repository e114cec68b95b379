"""The gate before a promotion: a challenger against the champion on rows that neither of them was trained on.

Torch-free. The rows are those that the challenger's bundle keeps (gate.parquet); both models score all of them.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from llactr_core.data.canonical import canonical_array
from llactr_core.data.labels import label_values
from llactr_core.errors import DataError
from llactr_core.metrics.probability import log_loss
from llactr_core.metrics.ranking import auc
from llactr_core.schema import Schema
from llactr_core.scorer import Scorer
from services.ctr.promotion.bootstrap import (
    Bootstrap,
    Floats,
    Integers,
    Interval,
    auc_difference,
    volume_ratio,
)

FEWEST = 10  # clicks, rows without, and groups; with fewer, an interval says nothing
DIGITS = 6
ALONE = (True, "the champion could not be scored, so the ratio alone decided")


@dataclass(frozen=True)
class GateRule:
    """What a challenger must fulfil.

    Args:
        kind: "harm" refuses what is shown to be worse; "proof" refuses what is not shown to be no worse.
        margin: the loss of AUC that is allowed.
        confidence: of the two-sided intervals.
        ratio_low: the least predicted/true ratio.
        ratio_high: the largest.
        resamples: draws of the bootstrap.
        seed: of the draws.
    """

    kind: Literal["harm", "proof"] = "harm"
    margin: float = 0.002
    confidence: float = 0.95
    ratio_low: float = 0.9
    ratio_high: float = 1.1
    resamples: int = 1000
    seed: int = 2027


@dataclass(frozen=True)
class GateResult:
    """Whether a challenger may become the champion, the reason in words, and the numbers behind it."""

    passed: bool
    reason: str
    numbers: Mapping[str, Any]

    def as_json(self) -> dict[str, Any]:
        """Plain data: the numbers with "passed" and "reason" beside them."""
        return {"passed": self.passed, "reason": self.reason, **self.numbers}

    @classmethod
    def of_json(cls, content: Mapping[str, Any]) -> "GateResult":
        """What `as_json` gave."""
        numbers = {name: value for name, value in content.items() if name not in ("passed", "reason")}
        return cls(bool(content["passed"]), str(content["reason"]), numbers)


@dataclass(frozen=True)
class GateRows:
    """The rows on which is judged: the table, its labels [B] and its groups [B], each row its own without one."""

    table: pa.Table
    labels: Floats
    groups: Integers

    @classmethod
    def read(cls, path: Path, schema: Schema) -> "GateRows":
        """The rows of a bundle's gate.parquet.

        Raises:
            DataError: the file cannot be read, or lacks the label.
        """
        try:
            table = pq.read_table(path)
            label = table.column(str(schema.label)).combine_chunks()
        except (OSError, KeyError, pa.ArrowException) as error:
            raise DataError(f"the gate's rows {path.name} cannot be read ({error}); train the version again") from error
        labels = label_values(label, str(schema.label)).astype(np.float64)
        groups = np.arange(len(labels))
        if schema.group is not None and schema.group in table.column_names:
            group = canonical_array(table.column(schema.group).combine_chunks())
            _, groups = np.unique(group.indices.fill_null(-1).to_numpy(zero_copy_only=False), return_inverse=True)
        return cls(table, labels, groups)


def judge(challenger: Scorer, champion: Scorer | None, rows: Path, rule: GateRule) -> GateResult:
    """Decide about a challenger.

    Args:
        challenger: the version that would become the champion.
        champion: the version that is; None where it cannot be loaded, and then the ratio alone decides.
        rows: the gate.parquet of the challenger's bundle.
        rule: what is demanded.

    Raises:
        DataError: the rows cannot be read.
    """
    about = {
        "challenger": challenger.version,
        "champion": champion.version if champion else None,
        "rule": asdict(rule),
    }
    if not rows.exists():
        return GateResult(
            False, "the bundle keeps no rows to be judged on; train the version again, or force the promotion", about
        )
    held = GateRows.read(rows, challenger.schema)
    other = None if champion is None else _why_not_comparable(challenger, champion, held)
    if other is not None:
        return GateResult(False, f"{other}; force the promotion if that is meant", about)
    scores = None if champion is None else champion.score(held.table)
    return decide(Evidence(held.labels, held.groups, challenger.score(held.table), scores), rule, about)


@dataclass(frozen=True)
class Evidence:
    """Labels, groups and scores of the same rows, all [B]. Without scores of a champion the ratio alone decides."""

    labels: Floats
    groups: Integers
    challenger: Floats
    champion: Floats | None


def decide(evidence: Evidence, rule: GateRule, about: Mapping[str, Any]) -> GateResult:
    """Apply the rule to scored rows.

    Args:
        evidence: the rows.
        rule: what is demanded.
        about: what stands beside the numbers of the result.
    """
    labels, challenger = evidence.labels, evidence.challenger
    rows, clicks = len(labels), int(labels.sum())
    groups = len(np.unique(evidence.groups))
    numbers: dict[str, Any] = {**about, "rows": rows, "clicks": clicks, "groups": groups}
    if not np.isfinite(challenger).all():
        return GateResult(False, "the challenger gives scores that are no numbers", numbers)
    if min(clicks, rows - clicks, groups) < FEWEST:
        said = f"{clicks} clicks in {rows} rows of {groups} groups are too few to judge on; {FEWEST} of each are needed"
        return GateResult(False, f"{said}; hold out more rows, or force the promotion", numbers)
    champion = evidence.champion
    if champion is not None and not np.isfinite(champion).all():
        champion = None
    statistics = [volume_ratio(labels, challenger)]
    if champion is not None:
        statistics.append(auc_difference(labels, challenger, champion))
    bootstrap = Bootstrap(evidence.groups, rule.resamples, rule.seed, rule.confidence)
    ratio, *difference = bootstrap.intervals(statistics)
    numbers |= _measured("auc", auc, labels, challenger, champion)
    numbers |= _measured("logloss", log_loss, labels, challenger, champion)
    numbers |= {"difference": _shown(difference[0]) if difference else None, "ratio": _shown(ratio)}
    verdicts = [_on_difference(difference[0], rule) if difference else ALONE, _on_ratio(ratio, rule)]
    return GateResult(all(passed for passed, _ in verdicts), "; ".join(said for _, said in verdicts), numbers)


def _on_difference(difference: Interval, rule: GateRule) -> tuple[bool, str]:
    said = f"AUC {difference.value:+.4f} ({difference.low:+.4f} to {difference.high:+.4f}) against the champion"
    if not np.isfinite([difference.low, difference.high]).all():
        return False, f"{said}: too few rows to tell"
    if difference.high < -rule.margin:
        return False, f"{said}: worse by more than the margin of {rule.margin}"
    if rule.kind == "proof" and difference.low < -rule.margin:
        return False, f"{said}: not shown to be within the margin of {rule.margin}"
    return True, f"{said}: not {'shown to be ' if rule.kind == 'harm' else ''}worse by more than {rule.margin}"


def _on_ratio(ratio: Interval, rule: GateRule) -> tuple[bool, str]:
    said = f"predicted/true {ratio.value:.3f} ({ratio.low:.3f} to {ratio.high:.3f})"
    allowed = f"{rule.ratio_low} to {rule.ratio_high}"
    if not np.isfinite([ratio.value, ratio.low, ratio.high]).all():
        return False, f"{said}: too few clicks to tell"
    if rule.ratio_low <= ratio.value <= rule.ratio_high:
        return True, f"{said} lies within {allowed}"
    is_sure = ratio.high < rule.ratio_low or ratio.low > rule.ratio_high
    if is_sure or rule.kind == "proof":
        return False, f"{said} lies outside {allowed}"
    return True, f"{said} lies outside {allowed}, but so few clicks do not show it"


def _measured(
    name: str, measure: Callable[[Floats, Floats], float], labels: Floats, challenger: Floats, champion: Floats | None
) -> dict[str, Any]:
    other = None if champion is None else round(measure(labels, champion), DIGITS)
    return {name: {"challenger": round(measure(labels, challenger), DIGITS), "champion": other}}


def _why_not_comparable(challenger: Scorer, champion: Scorer, rows: GateRows) -> str | None:
    """Why the champion cannot be asked about the challenger's rows; None where it can."""
    mine, its = challenger.schema, champion.schema
    if mine.label != its.label:
        return f"its label is {mine.label!r} and the champion's {its.label!r}"
    lacking = sorted(set(its.columns) - set(rows.table.column_names))
    if lacking:
        return f"its schema is another one: it lacks the champion's columns {', '.join(lacking)}"
    return None


def _shown(interval: Interval) -> dict[str, Any]:
    """An interval as JSON can carry it: no number is null."""
    value, low, high = (
        round(number, DIGITS) if np.isfinite(number) else None
        for number in (interval.value, interval.low, interval.high)
    )
    return {"value": value, "interval": [low, high]}
