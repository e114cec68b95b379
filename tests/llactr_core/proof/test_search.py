"""The search: the same whether it was cut off or not."""

from collections.abc import Callable
from pathlib import Path

import optuna
import pytest

from llactr_core.proof.arms import arms_of
from llactr_core.proof.search import Options, best_of, defaults, search

ARM = arms_of(has_values=False, quick=True)[0]


class Tried:
    """An objective that remembers what it was asked, and that may die at a trial."""

    def __init__(self, dies_at: int | None = None) -> None:
        self.options: list[Options] = []
        self._dies_at = dies_at

    def __call__(self, options: Options, evaluated: Callable[[int, float], None]) -> float:
        if len(self.options) == self._dies_at:
            raise KeyboardInterrupt
        self.options.append(options)
        return float(str(options["learning_rate"]))


def storage(folder: Path) -> optuna.storages.BaseStorage:
    return optuna.storages.RDBStorage(f"sqlite:///{folder / 'searches.sqlite'}")


def test_a_search_that_was_cut_off_tries_what_it_would_have_tried(tmp_path: Path) -> None:
    whole, before, after = Tried(), Tried(dies_at=2), Tried()
    search(ARM, "whole", whole, 5, storage(tmp_path))
    with pytest.raises(KeyboardInterrupt):
        search(ARM, "cut", before, 5, storage(tmp_path))
    search(ARM, "cut", after, 5, storage(tmp_path))
    assert before.options + after.options == whole.options
    assert whole.options[0] == defaults(ARM)
    assert len({one["learning_rate"] for one in whole.options}) == 5
    best, trials = best_of("cut", storage(tmp_path))
    assert (trials, best) == (5, max(whole.options, key=lambda one: float(str(one["learning_rate"]))))


def test_a_trial_whose_process_was_killed_is_repeated(tmp_path: Path) -> None:
    search(ARM, "killed", Tried(), 1, storage(tmp_path))
    study = optuna.load_study(study_name="killed", storage=storage(tmp_path))
    left = study.ask()
    left.suggest_float("learning_rate", 0.0003, 0.01, log=True)
    tried = Tried()
    search(ARM, "killed", tried, 2, storage(tmp_path))
    assert tried.options[0]["learning_rate"] == left.params["learning_rate"]
    states = [one.state for one in study.get_trials()]
    assert optuna.trial.TrialState.RUNNING not in states


def test_options_of_a_nearer_backbone_are_tried_behind_the_defaults() -> None:
    start = {**defaults(ARM), "learning_rate": 0.005}
    tried = Tried()
    search(ARM, "started", tried, 2, optuna.storages.InMemoryStorage(), starts=[start])
    assert tried.options == [defaults(ARM), start]
