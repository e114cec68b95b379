"""The proof: every arm searched with the same budget, trained with several seeds, and judged on the same rows."""

import hashlib
import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import optuna

from llactr_core import __version__
from llactr_core.files import replacing
from llactr_core.progress import Progress, ProgressCallback
from llactr_core.proof.arms import UNTUNED, Arm, Read, arms_of, method_arms, shipped
from llactr_core.proof.floor import floor_scores
from llactr_core.proof.intervals import Judged
from llactr_core.proof.pace import seconds_of_alignment
from llactr_core.proof.parts import HELD_OUT, require_parts
from llactr_core.proof.search import Options, best_of, search
from llactr_core.proof.size import served_parameters
from llactr_core.proof.slices import Sides, slices_of
from llactr_core.semantics.semantics import Semantics
from llactr_core.semantics.weights import DEFAULT_MODEL, model_digest, resolve_model
from llactr_core.training.align import align
from llactr_core.training.build import build_model
from llactr_core.training.data import Rows
from llactr_core.training.held_out import HeldOut
from llactr_core.training.loop import History, logits_of
from llactr_core.training.options import TrainOptions
from llactr_core.training.prepared import Prepared
from llactr_core.training.run import EvaluationCallback, Trained, train_model
from llactr_core.training.serving import exact_logits
from llactr_core.turn import Turn, at_once

SEARCHING = 0.5  # of the time that is left goes to the searches
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Plan:
    """How much is done.

    Args:
        backbones: the first one is searched with all trials, the others begin at its best options.
        trials: of the first backbone's search.
        later_trials: of the other backbones' searches.
        seeds: of the runs that are judged.
        epochs: at most.
        quick: fewer arms.
        final: judge on test, else on a part of valid that nothing was chosen by.
        user: the column of users, where the schema does not say.
        item: the column of items, likewise.
        methods: arms of other papers' methods, "ctrl" and "larr".
        language_model: what CTRL reads rows with.
        fixed: options of every arm that are not searched, as `TrainOptions` names them.
        until: on the clock of `time.monotonic`, when no further round of trials or seeds begins; None for never.
    """

    backbones: tuple[str, ...]
    trials: int
    later_trials: int
    seeds: tuple[int, ...]
    epochs: int = 30
    quick: bool = False
    final: bool = False
    user: str | None = None
    item: str | None = None
    methods: tuple[str, ...] = ()
    language_model: str = DEFAULT_MODEL
    fixed: Mapping[str, object] = field(default_factory=dict)
    until: float | None = None


@dataclass(frozen=True)
class ArmResult:
    """The judged rows' probabilities of one arm and backbone.

    Args:
        arm: its name.
        backbone: its name.
        scores: calibrated probabilities float64 [S, N].
        options: what the search chose.
        trials: how many there were.
        parameters: trained parameters.
    """

    arm: Arm
    backbone: str
    scores: Floats
    options: Options
    trials: int
    parameters: int


@dataclass(frozen=True)
class Outcome:
    """Everything that a report is written from."""

    judged: Judged
    floor: Floats
    results: list[ArmResult]
    slices: dict[str, npt.NDArray[np.bool_]]
    sides: str
    has_values: bool
    seeds: tuple[int, ...]
    left_out: list[str] = field(default_factory=list)


class Study:
    """Runs a plan on a dataset; what is done lies in a folder, and a run that was killed goes on from there.

    Args:
        plain: the rows as arms without value semantics see them.
        valued: the rows as those with value semantics do; the same where there are no textual fields.
        read: what the language model said.
        plan: how much is done.
        folder: of the scores of finished runs.
        storage: of the searches.
        progress: is told where the study stands; may raise JobCancelled.
        arms: what is compared; by default all that the dataset allows.
        turn: is asked for the accelerator that CTRL runs on.
    """

    def __init__(
        self,
        plain: Prepared,
        valued: Prepared,
        read: Read,
        plan: Plan,
        folder: Path,
        storage: optuna.storages.BaseStorage,
        progress: ProgressCallback,
        arms: Sequence[Arm] | None = None,
        turn: Turn = at_once,
    ) -> None:
        self._plain, self._valued, self._read, self._plan = plain, valued, read, plan
        self._folder, self._storage, self._progress, self._turn = folder, storage, progress, turn
        self.has_values = read.tuned.values is not None
        self.arms = arms_of(self.has_values, plan.quick) if arms is None else list(arms)
        require_parts(plain.valid.labels.numpy())
        self._judged_rows: dict[int, Rows] = {}
        self._scened: Prepared | None = None
        self.how = plain.splits.how
        parts = (plain.splits.train, plain.splits.valid, plain.splits.test)
        self.key = _digest([*(part.digest() for part in parts), plain.encoder.schema.fingerprint, __version__])
        self._left_out: list[str] = []
        if arms is None:
            self._without_the_unread()
            self.arms += method_arms(plan.methods)
        self._done, self._stage = 0.0, ""
        folder.mkdir(parents=True, exist_ok=True)
        optuna.logging.set_verbosity(logging.WARNING)

    def run(self) -> Outcome:
        """Search, train and score every arm.

        Each round gives every arm one more trial, or one more seed, so that arms have equal budgets wherever the time
        ends; the first round of either is always taken.
        """
        rows = self._rows_to_judge(self._plain)
        judged, told = Judged.of(rows.labels.numpy().astype(np.float64), rows.groups)
        self._left_out += told
        floor = floor_scores(self._plain.train, rows, self._plain.encoder.size)
        pairs = [(backbone, arm) for backbone in self._plan.backbones for arm in self.arms]
        for place, backbone in enumerate(self._plan.backbones):
            self._search(backbone, (place + 1) / len(self._plan.backbones))
        seeds = self._score(pairs)
        results = [self._result(backbone, arm, seeds) for backbone, arm in pairs]
        sides = Sides.of(self._plain.encoder, self._plain.train, self._plan.user, self._plan.item)
        slices = slices_of(self._plain.encoder, self._plain.train, rows, sides)
        return Outcome(judged, floor, results, slices, str(sides), self.has_values, seeds, self._left_out)

    @property
    def work_key(self) -> str:
        """Equal for studies that do the same on the same rows, however long they may take."""
        plan = self._plan
        names = [arm.name for arm in self.arms]
        return _digest([self.key, *plan.backbones, *names, str(plan.trials), str(plan.seeds), str(plan.epochs)])

    @property
    def train_rows(self) -> int:
        """How many there are."""
        return len(self._plain.train)

    def first_run(self) -> float:
        """The seconds that one run of the arm that ships takes: the first trial of its search."""
        began = time.monotonic()
        arm = next(arm for arm in self.arms if arm.name == shipped(self.has_values))
        self._searched(arm, self._plan.backbones[0], 1)
        return time.monotonic() - began

    def alignments(self) -> float:
        """About how many seconds CTRL's stage 1 takes for all backbones; 0 where CTRL is no arm."""
        if not any(arm.method == "ctrl" for arm in self.arms):
            return 0.0
        ctrl = TrainOptions.parse(self._plan.fixed).ctrl
        with self._turn(ctrl.device):
            seconds = seconds_of_alignment(self._plain, self._plan.language_model, ctrl.device)
        return ctrl.epochs * len(self._plan.backbones) * seconds

    def _without_the_unread(self) -> None:
        """Leave the untuned model's arm out where nobody asked it."""
        if self._read.untuned.fields is None and any(arm.name == UNTUNED for arm in self.arms):
            self.arms = [arm for arm in self.arms if arm.name != UNTUNED]
            self._left_out.append(f"the control {UNTUNED!r}: there are no vectors of it")

    def _search(self, backbone: str, share: float) -> None:
        """Rounds of trials of a backbone's arms."""
        trials = self._trials(backbone)
        now = time.monotonic()
        until = None if self._plan.until is None else now + SEARCHING * share * (self._plan.until - now)
        for count in range(1, trials + 1):
            began = time.monotonic()
            for arm in self.arms:
                self._searched(arm, backbone, count)
            self._done += len(self.arms) / trials
            if count < trials and not _is_time_for_more(began, until):
                self._left_out.append(f"{backbone}: {trials - count} of {trials} trials of every arm, for lack of time")
                return

    def _score(self, pairs: Sequence[tuple[str, Arm]]) -> tuple[int, ...]:
        """Rounds of seeds over all arms; the seeds that were taken."""
        seeds = self._plan.seeds
        for count, seed in enumerate(seeds, start=1):
            began = time.monotonic()
            for backbone, arm in pairs:
                self._tell(f"{backbone}, {arm.name}: seed {seed}")
                self._scored(arm, backbone, seed)
                self._done += 1 / len(seeds)
            if count < len(seeds) and not _is_time_for_more(began, self._plan.until):
                self._left_out.append(f"{len(seeds) - count} of {len(seeds)} seeds of every arm, for lack of time")
                return seeds[:count]
        return seeds

    def _result(self, backbone: str, arm: Arm, seeds: tuple[int, ...]) -> ArmResult:
        semantics = arm.semantics(self._read)
        best, trials = self._best(arm, backbone)
        scores = np.stack([self._scored(arm, backbone, seed) for seed in seeds])
        options = self._options(arm, backbone, best, 0)
        parameters = served_parameters(build_model(self._data(arm).encoder, semantics, options))
        return ArmResult(arm, backbone, scores, best, trials, parameters)

    def _trials(self, backbone: str) -> int:
        return self._plan.trials if backbone == self._plan.backbones[0] else self._plan.later_trials

    def _best(self, arm: Arm, backbone: str) -> tuple[Options, int]:
        """What the search has found, and with how many trials."""
        return best_of(self._name(arm, backbone), self._storage)

    def _name(self, arm: Arm, backbone: str) -> str:
        fixed = _digest([json.dumps(dict(self._plan.fixed), sort_keys=True)])[:8] if self._plan.fixed else ""
        return " ".join([self.key[:16], backbone, arm.name, self._reads(arm), fixed]).strip()

    def _reads(self, arm: Arm) -> str:
        """What decides an arm's runs besides rows and options: what it was given to read, or reads rows with."""
        if arm.method == "ctrl":
            return _digest([model_digest(resolve_model(self._plan.language_model))])[:12]
        return _version(arm.semantics(self._read))

    def _searched(self, arm: Arm, backbone: str, trials: int) -> None:
        """Search until there are so many trials."""
        semantics = arm.semantics(self._read)
        first = self._plan.backbones[0]
        starts = [] if backbone == first else [self._best(arm, first)[0]]

        def objective(options: Options, evaluated: Callable[[int, float], None]) -> float:
            def on_evaluation(history: History) -> None:
                evaluated(len(history.evaluations), history.evaluations[history.best]["auc"])

            chosen = self._options(arm, backbone, options, seed=0)
            self._tell(f"{backbone}, {arm.name}: searching, trial {trials}")
            history = self._trained(arm, semantics, chosen, on_evaluation).history
            return history.evaluations[history.best]["auc"]

        search(arm, self._name(arm, backbone), objective, trials, self._storage, starts=starts)

    def _scored(self, arm: Arm, backbone: str, seed: int) -> Floats:
        """Calibrated probabilities [N] of the judged rows, from the folder where they are there already."""
        semantics = arm.semantics(self._read)
        options = self._options(arm, backbone, self._best(arm, backbone)[0], seed)
        named = [self.key, arm.name, self._reads(arm), options.model_dump_json(), str(self._plan.final)]
        file = self._folder / f"{_digest(named)}.npy"
        if file.exists():
            return np.asarray(np.load(file), np.float64)
        trained = self._trained(arm, semantics, options)
        calibrator = trained.held_out.fitted(exact_logits(trained.model), options)
        rows = self._rows_to_judge(self._data(arm))
        scores = calibrator.probabilities(logits_of(trained.model, rows).double().numpy())
        with replacing(file) as beside, beside.open("wb") as written:
            np.save(written, scores)
        return np.asarray(scores, np.float64)

    def _options(self, arm: Arm, backbone: str, options: Options, seed: int) -> TrainOptions:
        own = {"held_out": HELD_OUT, "backbone": backbone, "seed": seed}
        chosen = options_of(arm, options, {"epochs": self._plan.epochs, **self._plan.fixed, **own})
        return self._widened(chosen) if arm.is_widened else chosen

    def _widened(self, options: TrainOptions) -> TrainOptions:
        """The plain model's options with the width at which it has at least the parameters of what ships."""
        ships = next(arm for arm in self.arms if arm.name == shipped(self.has_values))
        semantics = ships.semantics(self._read)
        content = {**options.model_dump(), "enhancer": "llactr", "llactr": dict(ships.llactr or {})}
        wanted = _count(self._valued, semantics, TrainOptions.parse(content))
        width = options.width
        while _count(self._plain, Semantics(), options.model_copy(update={"width": width})) < wanted:
            width += 1
        return options.model_copy(update={"width": width})

    def _trained(
        self, arm: Arm, semantics: Semantics, options: TrainOptions, on_evaluation: EvaluationCallback | None = None
    ) -> Trained:
        """One run; CTRL's begins with the weights that its alignment gives, made once for equal options of it."""
        data, warm = self._data(arm), None
        if arm.method == "ctrl":
            folder = self._folder.parent / "ctrl"
            folder.mkdir(exist_ok=True)
            warm = align(data, options, self._plan.language_model, folder, self._beat, turn=self._turn).start
        return train_model(data, semantics, options, progress=self._beat, warm=warm, on_evaluation=on_evaluation)

    def _data(self, arm: Arm) -> Prepared:
        """The rows with the ids that the arm's values need."""
        if arm.method == "larr":
            if self._scened is None:
                schema = self._plain.encoder.schema
                self._scened = Prepared.read(self._plain.splits, schema, self._read.scenes.values)
            return self._scened
        return self._valued if "values" in arm.searched else self._plain

    def _rows_to_judge(self, data: Prepared) -> Rows:
        if id(data) not in self._judged_rows:
            kept = HeldOut.of(data.valid, HELD_OUT).judging or data.valid
            self._judged_rows[id(data)] = data.test() if self._plan.final else kept
        return self._judged_rows[id(data)]

    def _beat(self, _progress: Progress) -> None:
        """Lets whoever listens end the work within a run."""
        self._tell(self._stage)

    def _tell(self, stage: str) -> None:
        self._stage = stage
        self._progress(Progress(stage, min(1.0, self._done / (2 * len(self.arms) * len(self._plan.backbones)))))


def options_of(arm: Arm, options: Options, fixed: Mapping[str, object]) -> TrainOptions:
    """The training options of an arm, given what was searched and what is fixed for every arm.

    Raises:
        OptionError: one is unknown or out of range.
    """
    content: dict[str, Any] = {"enhancer": arm.enhancer, "llactr": dict(arm.llactr or {})}
    for name, value in options.items():
        part, _, its = name.partition(".")
        if its:
            content.setdefault(part, {})[its] = value
        else:
            content[part] = value
    for name, value in fixed.items():
        is_part = isinstance(value, Mapping) and isinstance(content.get(name), Mapping)
        content[name] = {**content[name], **value} if is_part else value  # type: ignore[dict-item]
    return TrainOptions.parse(content)


def _is_time_for_more(began: float, until: float | None) -> bool:
    """Whether a round as long as the one that began then can still end in time."""
    now = time.monotonic()
    return until is None or now + (now - began) < until


def _count(data: Prepared, semantics: Semantics, options: TrainOptions) -> int:
    return served_parameters(build_model(data.encoder, semantics, options))


def _version(semantics: Semantics) -> str:
    return " ".join("" if one is None else one.version[:12] for one in (semantics.fields, semantics.values))


def _digest(parts: Sequence[str]) -> str:
    return hashlib.sha256(json.dumps(list(parts)).encode()).hexdigest()
