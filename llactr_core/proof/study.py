"""The proof: every arm searched with the same budget, trained with several seeds, and judged on the same rows."""

import hashlib
import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import optuna

from llactr_core import __version__
from llactr_core.errors import DataError
from llactr_core.files import replacing
from llactr_core.progress import Progress, ProgressCallback
from llactr_core.proof.arms import Arm, Read, arms_of, shipped
from llactr_core.proof.floor import floor_scores
from llactr_core.proof.intervals import Judged
from llactr_core.proof.search import Options, search
from llactr_core.proof.slices import slices_of
from llactr_core.semantics.semantics import Semantics
from llactr_core.training.build import build_model
from llactr_core.training.data import Rows
from llactr_core.training.held_out import HeldOut
from llactr_core.training.loop import History, logits_of
from llactr_core.training.options import TrainOptions
from llactr_core.training.prepared import Prepared
from llactr_core.training.run import train_model

HELD_OUT = 0.5  # of valid: half of it calibrates, half is judged where test is not
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
        deadline: on the clock of `time.monotonic`, when searches end with what they have; None for never.
    """

    backbones: tuple[str, ...]
    trials: int
    later_trials: int
    seeds: tuple[int, ...]
    epochs: int = 30
    quick: bool = False
    final: bool = False
    deadline: float | None = None


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
    has_values: bool
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
        progress: is told where the study stands.
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
    ) -> None:
        self._plain, self._valued, self._read, self._plan = plain, valued, read, plan
        self._folder, self._storage, self._progress = folder, storage, progress
        self.has_values = read.tuned.values is not None
        self.arms = arms_of(self.has_values, plan.quick)
        self._held_out = HeldOut.of(plain.valid, HELD_OUT)
        if self._held_out.judging is None or self._held_out.share == 0:
            raise DataError(
                f"valid has {len(plain.valid)} rows, too few of each class for a part that stops training, one that "
                "calibrates and one that judges; give a larger valid file"
            )
        self._judged_rows: dict[bool, Rows] = {}
        parts = (plain.splits.train, plain.splits.valid, plain.splits.test)
        self._key = _digest([*(part.digest() for part in parts), plain.encoder.schema.fingerprint, __version__])
        self._left_out: dict[str, str] = {}
        self._done = 0
        folder.mkdir(parents=True, exist_ok=True)
        optuna.logging.set_verbosity(logging.WARNING)

    def run(self) -> Outcome:
        """Search, train and score every arm."""
        rows = self._rows_to_judge(self._plain, False)
        judged = Judged(rows.labels.numpy().astype(np.float64), rows.groups)
        if not 0 < judged.labels.sum() < len(judged.labels):
            raise DataError("the rows to judge on are all of one class; give a dataset with both")
        floor = floor_scores(self._plain.train, rows, self._plain.encoder.size)
        results = [self._arm(arm, backbone) for backbone in self._plan.backbones for arm in self.arms]
        slices = slices_of(self._plain.encoder, self._plain.train, rows)
        left_out = [f"{of_what}: {what}" for of_what, what in self._left_out.items()]
        return Outcome(judged, floor, results, slices, self.has_values, left_out)

    def _arm(self, arm: Arm, backbone: str) -> ArmResult:
        semantics = arm.semantics(self._read)
        best, trials = self._searched(arm, backbone, semantics)
        scores = [self._scored(arm, backbone, semantics, best, seed) for seed in self._plan.seeds]
        self._tell(f"{backbone}, {arm.name}", 1)
        parameters = self._parameters(arm, backbone, semantics, best)
        return ArmResult(arm, backbone, np.stack(scores), best, trials, parameters)

    def _searched(self, arm: Arm, backbone: str, semantics: Semantics) -> tuple[Options, int]:
        first = self._plan.backbones[0]
        trials = self._plan.trials if backbone == first else self._plan.later_trials
        starts = [] if backbone == first else [self._searched(arm, first, semantics)[0]]
        name = f"{self._key[:16]} {backbone} {arm.name} {_version(semantics)}"

        def objective(options: Options, evaluated: Callable[[int, float], None]) -> float:
            def on_evaluation(history: History) -> None:
                evaluated(len(history.evaluations), history.evaluations[history.best]["auc"])

            chosen = self._options(arm, backbone, semantics, options, seed=0)
            self._tell(f"{backbone}, {arm.name}: searching", 0)
            history = train_model(self._data(arm), semantics, chosen, on_evaluation=on_evaluation).history
            return history.evaluations[history.best]["auc"]

        best = search(arm, name, objective, trials, self._storage, starts=starts, may_go_on=self._is_time_left)
        done = len(optuna.load_study(study_name=name, storage=self._storage).trials)
        if done < trials:
            self._left_out[f"{backbone}, {arm.name}"] = f"{trials - done} of {trials} trials for lack of time"
        return best, done

    def _scored(self, arm: Arm, backbone: str, semantics: Semantics, best: Options, seed: int) -> Floats:
        """Calibrated probabilities [N] of the judged rows, from the folder where they are there already."""
        options = self._options(arm, backbone, semantics, best, seed)
        named = [self._key, arm.name, _version(semantics), options.model_dump_json(), str(self._plan.final)]
        file = self._folder / f"{_digest(named)}.npy"
        if file.exists():
            return np.asarray(np.load(file), np.float64)
        self._tell(f"{backbone}, {arm.name}: seed {seed}", 0)
        data = self._data(arm)
        trained = train_model(data, semantics, options)
        calibrator = trained.held_out.fitted(trained.model, options)
        rows = self._rows_to_judge(data, data is self._valued)
        scores = calibrator.probabilities(logits_of(trained.model, rows).double().numpy())
        with replacing(file) as beside, beside.open("wb") as written:
            np.save(written, scores)
        return np.asarray(scores, np.float64)

    def _options(self, arm: Arm, backbone: str, semantics: Semantics, options: Options, seed: int) -> TrainOptions:
        content: dict[str, object] = {
            "backbone": backbone,
            "enhancer": "none" if arm.llactr is None else "llactr",
            "epochs": self._plan.epochs,
            "held_out": HELD_OUT,
            "seed": seed,
        }
        llactr = dict(arm.llactr or {})
        for name, value in options.items():
            part, _, its = name.partition(".")
            if its:
                llactr[its] = value
            else:
                content[part] = value
        if arm.llactr is not None:
            content["llactr"] = llactr
        chosen = TrainOptions.parse(content)
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

    def _parameters(self, arm: Arm, backbone: str, semantics: Semantics, best: Options) -> int:
        return _count(self._data(arm), semantics, self._options(arm, backbone, semantics, best, 0))

    def _data(self, arm: Arm) -> Prepared:
        return self._valued if "values" in arm.searched else self._plain

    def _rows_to_judge(self, data: Prepared, is_valued: bool) -> Rows:
        if is_valued not in self._judged_rows:
            kept = HeldOut.of(data.valid, HELD_OUT).judging or data.valid
            rows = data.test() if self._plan.final else kept
            self._judged_rows[is_valued] = rows
        return self._judged_rows[is_valued]

    def _is_time_left(self) -> bool:
        return self._plan.deadline is None or time.monotonic() < self._plan.deadline

    def _tell(self, stage: str, done: int) -> None:
        self._done += done
        self._progress(Progress(stage, self._done / (len(self.arms) * len(self._plan.backbones))))


def _count(data: Prepared, semantics: Semantics, options: TrainOptions) -> int:
    return sum(p.numel() for p in build_model(data.encoder, semantics, options).parameters())


def _version(semantics: Semantics) -> str:
    return " ".join("" if one is None else one.version[:12] for one in (semantics.fields, semantics.values))


def _digest(parts: Sequence[str]) -> str:
    return hashlib.sha256(json.dumps(list(parts)).encode()).hexdigest()
