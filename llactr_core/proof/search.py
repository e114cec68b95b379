"""The search for an arm's options: the same space, budget and objective for every arm."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

import optuna
import yaml
from optuna.trial import TrialState

from llactr_core.proof.arms import Arm

Options = dict[str, object]
ENDED = (TrialState.COMPLETE, TrialState.PRUNED)
Objective = Callable[[Options, Callable[[int, float], None]], float]


@cache
def _space() -> Mapping[str, Mapping[str, Mapping[str, Any]]]:
    content: dict[str, dict[str, dict[str, Any]]] = yaml.safe_load(
        files("llactr_core.proof").joinpath("space.yaml").read_text(encoding="utf-8")
    )
    return content


def defaults(arm: Arm) -> Options:
    """The default of every option that is searched for an arm."""
    return {name: about["default"] for name, about in _searched(arm).items()}


def search(
    arm: Arm,
    study_name: str,
    objective: Objective,
    trials: int,
    storage: optuna.storages.BaseStorage,
    *,
    starts: Sequence[Options] = (),
    seed: int = 0,
) -> None:
    """Try options until there are so many trials. What the storage has counts; a trial that was cut off is repeated.

    Args:
        arm: what is searched for.
        study_name: names everything that the objective depends on.
        objective: validation AUC of options; it passes on (step, AUC) after each evaluation, which may raise
            `optuna.TrialPruned`.
        trials: how many there shall be, pruned ones included.
        storage: where trials are kept.
        starts: options that are tried first, behind the defaults: those of a nearer backbone, say.
        seed: of the sampler, which draws a trial from it, the trial's number and the trials before it.
    """
    study = optuna.create_study(
        storage=storage,
        study_name=study_name,
        direction="maximize",
        load_if_exists=True,
        pruner=optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=1),
    )
    if not study.trials:
        for options in (defaults(arm), *starts):
            study.enqueue_trial(options, skip_if_exists=True)
    _repeat(study)
    while (done := len(study.get_trials(deepcopy=False, states=ENDED))) < trials:
        study.sampler = optuna.samplers.TPESampler(seed=seed + done, n_startup_trials=4)
        study.optimize(lambda trial: _tried(arm, trial, objective), n_trials=1)


def best_of(study_name: str, storage: optuna.storages.BaseStorage) -> tuple[Options, int]:
    """The options with the best validation AUC so far, and the number of trials."""
    study = optuna.load_study(study_name=study_name, storage=storage)
    return dict(study.best_params), len(study.get_trials(deepcopy=False, states=ENDED))


def _repeat(study: optuna.Study) -> None:
    """Queue the trials again that a killed or cancelled process left."""
    known = [one.params for one in study.trials if one.state in (*ENDED, TrialState.WAITING)]
    for left in study.get_trials(states=(TrialState.RUNNING, TrialState.FAIL)):
        if left.state is TrialState.RUNNING:
            study.tell(left.number, state=TrialState.FAIL)
        if left.params and left.params not in known:
            known.append(left.params)
            study.enqueue_trial(left.params)


def _tried(arm: Arm, trial: optuna.Trial, objective: Objective) -> float:
    def evaluated(step: int, value: float) -> None:
        trial.report(value, step)
        if trial.should_prune():
            raise optuna.TrialPruned

    return objective({name: _drawn(trial, name, about) for name, about in _searched(arm).items()}, evaluated)


def _drawn(trial: optuna.Trial, name: str, about: Mapping[str, Any]) -> object:
    if "choices" in about:
        return trial.suggest_categorical(name, about["choices"])
    low, high = about["log"]
    return trial.suggest_float(name, low, high, log=True)


def _searched(arm: Arm) -> dict[str, Mapping[str, Any]]:
    space = _space()
    return {name: about for part in ("common", *arm.searched) for name, about in space[part].items()}
