"""What the proof says: as data, as a page to read, and in one sentence."""

import math
from dataclasses import asdict, dataclass

import numpy as np

from llactr_core.metrics.ranking import auc
from llactr_core.metrics.report import evaluate
from llactr_core.proof.arms import PLAIN, WIDENED, shipped
from llactr_core.proof.intervals import Comparison, Difference, Scores, compare
from llactr_core.proof.reporting.numbers import gain_of
from llactr_core.proof.reporting.perfect import perfect_calibration
from llactr_core.proof.study import ArmResult, Outcome, Plan

FLOOR = "log-odds floor"
PARTS = ("value", "field")  # what has controls of its own, "... value vectors"
Json = dict[str, object]


@dataclass(frozen=True)
class Verdict:
    """Whether the gain is there and is the semantics'.

    Args:
        code: "gain", or where it is the meaning of one part alone "gain-of-values" or "gain-of-fields";
            "not-semantics", "no-gain" or "worse".
        text: for people.
    """

    code: str
    text: str


def report_of(dataset: str, outcome: Outcome, plan: Plan, about: Json) -> Json:
    """The report as data, in the form of CONTRACT.md, with more keys.

    Args:
        dataset: its name.
        outcome: what was run.
        plan: how much was run.
        about: what else is known of the run: command, seconds, machine.
    """
    plain = _scores(outcome, PLAIN)
    ships = shipped(outcome.has_values)
    against = {
        name: compare(outcome.judged, _scores(outcome, ships), _scores(outcome, name)) for name in _rivals(outcome)
    }
    arms = [_floor(outcome, plan, plain)] + [_arm(outcome, result, plain) for result in outcome.results]
    verdict = judge(ships, against)
    return {
        "dataset": dataset,
        "judged_on": "test" if plan.final else "a part of valid that nothing was chosen by",
        "rows": len(outcome.judged.labels),
        "clicks": int(outcome.judged.labels.sum()),
        "backbones": list(plan.backbones),
        "seeds": len(outcome.seeds),
        "ships": ships,
        "arms": arms,
        "against": {name: comparison_json(one) for name, one in against.items()},
        "verdict": verdict.text,
        "verdict_code": verdict.code,
        "sides": outcome.sides,
        "left_out": outcome.left_out,
        **about,
    }


def judge(ships: str, against: dict[str, Comparison]) -> Verdict:
    """The verdict: a gain only where plain, plain widened and every control are beaten with their intervals.

    Where that holds of the controls of one part alone, values or fields, the gain is that part's.
    """
    plain = against[PLAIN]
    gain = gain_of(plain)
    rest = f"the smallest difference that these rows could show is {plain.auc.detectable:.4f} AUC"
    if math.isfinite(plain.relaimpr.detectable):
        rest += f", or {plain.relaimpr.detectable:.2%} RelaImpr"
    if plain.auc.high < 0:
        return Verdict("worse", f"{ships} is worse than the plain backbone: {gain}. Train with enhancer 'none'.")
    if not plain.auc.is_above_zero:
        return Verdict(
            "no-gain", f"No gain of {ships} over the plain backbone could be told from chance: {gain}; {rest}."
        )
    level = [name for name, one in against.items() if not one.auc.is_above_zero]
    names = ", ".join(level)
    for part in PARTS if level else ():
        controls = [name for name in against if name.endswith(f"{part} vectors")]
        if controls and not {PLAIN, WIDENED, *controls} & {*level}:
            return Verdict(
                f"gain-of-{part}s",
                f"{ships} is better than the plain backbone ({gain}), the widened one, and itself with any other "
                f"{part} vectors: what the {part}s mean helps; {rest}. It is not surely better than: {names}.",
            )
    if level:
        return Verdict(
            "not-semantics",
            f"{ships} is better than the plain backbone ({gain}), but not surely than: {names}. So the gain may come "
            f"from more parameters or from any vectors, not from what they mean.",
        )
    return Verdict(
        "gain", f"{ships} is better than the plain backbone, the widened one and every control: {gain}; {rest}."
    )


def _rivals(outcome: Outcome) -> list[str]:
    names = dict.fromkeys(result.arm.name for result in outcome.results)
    controls = {result.arm.name for result in outcome.results if result.arm.is_control}
    return [name for name in names if name in (PLAIN, WIDENED) or name in controls]


def _scores(outcome: Outcome, arm: str) -> Scores:
    return {result.backbone: result.scores for result in outcome.results if result.arm.name == arm}


def _arm(outcome: Outcome, result: ArmResult, plain: Scores) -> Json:
    labels, groups = outcome.judged.labels, outcome.judged.groups
    measured = [evaluate(labels, one, groups) for one in result.scores]
    mean = {name: float(np.mean([one[name] for one in measured])) for name in measured[0]}
    name = result.backbone
    against = compare(outcome.judged, {name: result.scores}, {name: plain[name]}) if result.arm.name != PLAIN else None
    return {
        "name": result.arm.name,
        "about": result.arm.about,
        "backbone": name,
        **mean,
        "perfect": asdict(perfect_calibration(labels, result.scores)),
        "auc_spread": float(np.std([one["auc"] for one in measured])),
        "relaimpr": 0.0 if against is None else against.relaimpr.value,
        "interval": [0.0, 0.0] if against is None else [against.relaimpr.low, against.relaimpr.high],
        "detectable": None if against is None else against.relaimpr.detectable,
        "slices": _slices(outcome, result),
        "options": result.options,
        "trials": result.trials,
        "parameters": result.parameters,
    }


def _floor(outcome: Outcome, plan: Plan, plain: Scores) -> Json:
    backbone = plan.backbones[0]
    measured = evaluate(outcome.judged.labels, outcome.floor, outcome.judged.groups)
    repeated = {backbone: np.repeat(outcome.floor[None], len(plain[backbone]), axis=0)}
    against = compare(outcome.judged, repeated, {backbone: plain[backbone]})
    interval = [against.relaimpr.low, against.relaimpr.high]
    about = "a sum of smoothed log-odds per value, no learning; against the first backbone's plain arm"
    relaimpr = against.relaimpr.value
    return {
        "name": FLOOR,
        "about": about,
        "backbone": "",
        **measured,
        "perfect": asdict(perfect_calibration(outcome.judged.labels, outcome.floor)),
        "relaimpr": relaimpr,
        "interval": interval,
        "slices": {},
    }


def _slices(outcome: Outcome, result: ArmResult) -> Json:
    """AUC by slice, the mean over seeds, with its rows; None where a slice has one class only."""
    labels = outcome.judged.labels
    found: Json = {}
    for name, rows in outcome.slices.items():
        one_class = labels[rows].min() == labels[rows].max()
        value = None if one_class else float(np.mean([auc(labels[rows], one[rows]) for one in result.scores]))
        found[name] = {"rows": int(rows.sum()), "auc": value}
    return found


def comparison_json(one: Comparison) -> Json:
    """A comparison as reports have it."""
    return {"auc": _difference(one.auc), "logloss": _difference(one.logloss), "relaimpr": _difference(one.relaimpr)}


def _difference(one: Difference) -> Json:
    return {"value": one.value, "interval": [one.low, one.high], "detectable": one.detectable}
