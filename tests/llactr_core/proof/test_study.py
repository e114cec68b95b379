"""The whole proof on data whose truth is known: it finds an effect, finds none where there is none, and goes on."""

from pathlib import Path

import numpy as np
import optuna
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from films import FILM_SCHEMA, WIDE, value_table, write_films

from llactr_core.data.splits import open_dataset
from llactr_core.errors import DataError
from llactr_core.metrics.ranking import auc
from llactr_core.progress import Progress, ProgressCallback, silent
from llactr_core.proof.arms import BOTH, FIELDS, PLAIN, WIDENED, Read
from llactr_core.proof.reporting.page import markdown, page
from llactr_core.proof.reporting.report import FLOOR, report_of
from llactr_core.proof.study import Plan, Study
from llactr_core.semantics.semantics import Semantics
from llactr_core.semantics.table import FieldTable
from llactr_core.training.prepared import Prepared

PLAN = Plan(("fm",), trials=1, later_trials=1, seeds=(1, 2, 3), epochs=4, quick=True, final=True)
ABOUT: dict[str, object] = {"command": "llactr prove", "seconds": 1.0, "data": "files"}


def study_of(folder: Path, strength: float, progress: ProgressCallback = silent, plan: Plan = PLAN) -> Study:
    if not (folder / "train.parquet").exists():
        write_films(folder, strength)
    vectors = np.random.default_rng(9).normal(size=(3, WIDE)).astype(np.float32)
    tuned = Semantics(FieldTable(FILM_SCHEMA.names, vectors, "m", "r"), value_table())
    splits = open_dataset(folder, "click")
    plain, valued = Prepared.read(splits, FILM_SCHEMA), Prepared.read(splits, FILM_SCHEMA, tuned.values)
    storage = optuna.storages.RDBStorage(f"sqlite:///{folder / 'searches.sqlite'}")
    return Study(plain, valued, Read(tuned, Semantics()), plan, folder / "scores", storage, progress)


class Cut(Exception):
    """The end of a run that is cut off."""


def test_an_effect_of_values_is_found_and_told_from_its_controls(tmp_path: Path) -> None:
    def cut_off(progress: Progress) -> None:
        if progress.stage == f"fm, {FIELDS}: seed 2":
            raise Cut

    with pytest.raises(Cut):
        study_of(tmp_path, 2.5, cut_off).run()
    kept = sorted((tmp_path / "scores").iterdir())
    assert kept
    written = {file: file.stat().st_mtime_ns for file in kept}
    outcome = study_of(tmp_path, 2.5).run()
    assert written == {file: file.stat().st_mtime_ns for file in kept}, "what was done is not done again"
    report = report_of("films", outcome, PLAN, ABOUT)
    against = report["against"]
    assert isinstance(against, dict)
    for rival in (PLAIN, WIDENED, "random value vectors", "shuffled value vectors"):
        assert against[rival]["auc"]["interval"][0] > 0, rival
    assert report["ships"] == BOTH
    assert report["verdict_code"] == "gain-of-values", "the field vectors of this dataset carry nothing"
    assert "field vectors" in str(report["verdict"])
    assert {"dataset", "arms", "verdict"} <= set(report)
    arms = report["arms"]
    assert isinstance(arms, list)
    for arm in arms:
        assert {"name", "backbone", "auc", "logloss", "ece", "relaimpr", "interval", "slices"} <= set(arm)
    assert arms[0]["name"] == FLOOR
    scores = next(result.scores for result in outcome.results if result.arm.name == PLAIN)
    mean = np.mean([auc(outcome.judged.labels, one) for one in scores])
    assert next(arm["auc"] for arm in arms if arm["name"] == PLAIN) == pytest.approx(mean)
    text, html = markdown(report), page(report)
    for name in (PLAIN, WIDENED, BOTH, FLOOR):
        assert name in text
        assert name in html
    assert "<svg" in html
    assert "src=" not in html, "the page needs nothing but itself"


def test_without_an_effect_none_is_found(tmp_path: Path) -> None:
    report = report_of("films", study_of(tmp_path, 0.0).run(), PLAN, ABOUT)
    assert report["verdict_code"] in ("no-gain", "worse")


def test_valid_rows_of_one_class_are_refused(tmp_path: Path) -> None:
    write_films(tmp_path)
    valid = pq.read_table(tmp_path / "valid.parquet")
    clicked = valid["click"].to_numpy() == 1
    few = pa.concat_tables([valid.filter(clicked), valid.filter(~clicked)[:1]])
    pq.write_table(few, tmp_path / "valid.parquet")
    with pytest.raises(DataError, match="too few of each class"):
        study_of(tmp_path, 2.5)


def test_the_widened_arm_has_at_least_the_parameters_of_what_ships(tmp_path: Path) -> None:
    plan = Plan(("fm",), 1, 1, (1,), epochs=1, quick=True)
    sizes = {result.arm.name: result.parameters for result in study_of(tmp_path, 2.5, plan=plan).run().results}
    assert sizes[PLAIN] < sizes[BOTH] <= sizes[WIDENED]
