"""Choosing what to train for the user: a small proof on validation, and a rule that prefers the simpler arm."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from llactr_core.data.splits import Splits
from llactr_core.files import write_atomic
from llactr_core.metrics.probability import log_loss
from llactr_core.metrics.ranking import auc
from llactr_core.proof.arms import BOTH, FIELDS, PLAIN, VALUES, Arm, Read, arms_of
from llactr_core.proof.intervals import POWER_80, Comparison, compare
from llactr_core.proof.options import QUICK_SEEDS, QUICK_TRIALS
from llactr_core.proof.parts import HELD_OUT
from llactr_core.proof.reporting.numbers import defined, gain_of
from llactr_core.proof.rows import Asked, few_enough
from llactr_core.proof.study import ArmResult, Outcome, Plan, options_of
from llactr_core.proof.work import Place, study_in_time
from llactr_core.schema import Schema
from llactr_core.semantics.semantics import Semantics
from llactr_core.training.options import TrainOptions

AUTO_BACKBONES = ("deepfm", "fm", "finalmlp")  # between which `--backbone auto` chooses
BY_SIMPLICITY = (PLAIN, FIELDS, VALUES, BOTH)
PROVING = 0.75  # of the time; the rest trains the bundle
CHOICE = "choice.json"
Json = dict[str, object]


@dataclass(frozen=True)
class Choice:
    """What to train.

    Args:
        arm: its name.
        options: of the training.
        lineage: how it was chosen, for the bundle's manifest.
    """

    arm: str
    options: TrainOptions
    lineage: Json

    @property
    def reason(self) -> str:
        """In a sentence."""
        return str(self.lineage["reason"])

    def semantics(self, read: Semantics) -> Semantics:
        """The part of what a language model said that this arm reads."""
        return _arm(self.arm, read).semantics(Read(read, Semantics()))

    @classmethod
    def parse(cls, content: Mapping[str, object]) -> Self:
        """A choice as it was kept."""
        return cls(str(content["arm"]), TrainOptions.parse(content["options"]), dict(content["lineage"]))  # type: ignore[call-overload]

    def as_json(self) -> Json:
        """What `parse` reads."""
        return {"arm": self.arm, "options": self.options.model_dump(mode="json"), "lineage": self.lineage}


def choose(
    splits: Splits,
    schema: Schema,
    read: Semantics,
    fixed: Mapping[str, object],
    backbones: Sequence[str],
    minutes: float,
    place: Place,
) -> Choice:
    """Search and judge plain, fields, values and both on valid, and choose. A choice that was made is kept.

    Args:
        splits: the dataset; test is not read.
        schema: its fields and label.
        read: what the language model says of fields and values.
        fixed: training options that are not searched, but for backbone and enhancer.
        backbones: one, or those to choose between.
        minutes: for everything, the training that follows included.
        place: where it works.

    Raises:
        DataError: valid is too small to be split.
        OptionError: an option is unknown or out of range.
    """
    kept = place.folder / CHOICE
    if kept.exists():
        return Choice.parse(json.loads(kept.read_text(encoding="utf-8")))
    until = time.monotonic() + 60 * minutes * PROVING
    trials, seeds = QUICK_TRIALS, tuple(range(1, 1 + QUICK_SEEDS))
    plan = Plan(tuple(backbones), trials, trials, seeds, quick=True, fixed=fixed, until=until)
    arms = [_arm(name, read) for name in BY_SIMPLICITY if read.values is not None or name in (PLAIN, FIELDS)]
    rows = few_enough(splits, str(schema.label), schema.group, final=False)
    study, left_out = study_in_time(Asked(rows, schema, schema.group), Read(read, Semantics()), plan, place, arms)
    outcome = study.run()
    choice = chosen(outcome, fixed, [*left_out, *outcome.left_out], rows.how)
    write_atomic(kept, json.dumps(choice.as_json(), indent=1).encode())
    return choice


def chosen(outcome: Outcome, fixed: Mapping[str, object], left_out: Sequence[str], how: str) -> Choice:
    """Apply the rule to what was run.

    The base is plain, of the backbone with the best AUC. An arm is admitted where the 95 % interval of its AUC's paired
    difference to the base is above zero and its LogLoss is not shown to be worse. Of those admitted the simplest is
    taken whose AUC is within one standard error of the best one's (Breiman et al., Classification and Regression
    Trees, 1984, section 3.4.3); without any, plain.
    """
    plains = [result for result in outcome.results if result.arm.name == PLAIN]
    base = max(plains, key=lambda result: _auc(outcome, result))
    against = {_name(one): _compared(outcome, one, base) for one in outcome.results if one is not base}
    admitted = [one for one in outcome.results if one.arm.name != PLAIN and _is_admitted(against[_name(one)])]
    taken = _simplest(outcome, admitted) if admitted else base
    reason = _reason(taken, base, admitted, against)
    options = options_of(taken.arm, taken.options, {"held_out": HELD_OUT, **fixed, "backbone": taken.backbone})
    lineage: Json = {
        "chosen": taken.arm.name,
        "backbone": taken.backbone,
        "reason": reason,
        "judged_on": f"{len(outcome.judged.labels)} rows of valid that nothing was chosen by",
        "seeds": len(outcome.seeds),
        "data": how,
        "left_out": list(left_out),
        "arms": [_measured(outcome, one, against.get(_name(one))) for one in outcome.results],
    }
    return Choice(taken.arm.name, options, lineage)


def _arm(name: str, read: Semantics) -> Arm:
    return next(arm for arm in arms_of(read.values is not None, quick=True) if arm.name == name)


def _name(result: ArmResult) -> str:
    return f"{result.backbone}, {result.arm.name}"


def _compared(outcome: Outcome, one: ArmResult, base: ArmResult) -> Comparison:
    return compare(outcome.judged, {"": one.scores}, {"": base.scores})


def _is_admitted(found: Comparison) -> bool:
    return found.auc.is_above_zero and found.logloss.low <= 0


def _simplest(outcome: Outcome, admitted: Sequence[ArmResult]) -> ArmResult:
    best = max(admitted, key=lambda one: _auc(outcome, one))
    for one in sorted(admitted, key=lambda one: BY_SIMPLICITY.index(one.arm.name)):
        if one is best:
            break
        lead = _compared(outcome, best, one).auc
        if lead.value <= lead.detectable / POWER_80:
            return one
    return best


def _auc(outcome: Outcome, one: ArmResult) -> float:
    return float(np.mean([auc(outcome.judged.labels, scores) for scores in one.scores]))


def _measured(outcome: Outcome, one: ArmResult, against: Comparison | None) -> Json:
    content: Json = {
        "arm": one.arm.name,
        "backbone": one.backbone,
        "auc": _auc(outcome, one),
        "logloss": float(np.mean([log_loss(outcome.judged.labels, scores) for scores in one.scores])),
        "options": one.options,
        "trials": one.trials,
    }
    if against is not None:
        gain = against.relaimpr
        numbers = {"relaimpr": gain.value, "interval": [gain.low, gain.high], "detectable": gain.detectable}
        content |= {name: defined(value) for name, value in numbers.items()}
        content |= {"logloss_difference": against.logloss.value}
        content |= {"logloss_interval": [against.logloss.low, against.logloss.high]}
    return content


def _reason(taken: ArmResult, base: ArmResult, admitted: Sequence[ArmResult], against: Mapping[str, Comparison]) -> str:
    gains = {name: f"{name} {gain_of(one)}" for name, one in against.items()}
    if taken is base:
        return f"{_name(base)}: nothing was surely better on validation ({'; '.join(gains.values())})"
    rest = [gains[_name(one)] for one in admitted if one is not taken]
    others = f"; better than plain too, but no simpler or not as good: {'; '.join(rest)}" if rest else ""
    return f"{gains[_name(taken)]} against {_name(base)}, the whole interval above zero{others}"
