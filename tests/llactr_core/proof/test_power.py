"""The proof on a dataset whose field semantics are known: found where they are, and not where vectors say nothing."""

from pathlib import Path

import numpy as np
import optuna
import pytest
from pairs import PAIR_SCHEMA, kind_table, write_pairs

from llactr_core.data.splits import open_dataset
from llactr_core.proof.arms import FIELDS, PLAIN, WIDENED, Read
from llactr_core.proof.reporting.report import report_of
from llactr_core.proof.study import Plan, Study
from llactr_core.semantics.semantics import Semantics
from llactr_core.semantics.table import FieldTable
from llactr_core.training.prepared import Prepared

FIXED = {"width": 2, "learning_rate": 0.02, "batch_size": 512, "llactr": {"fie_weight": 1.0}}
PLAN = Plan(("fm",), trials=1, later_trials=1, seeds=(1, 2), epochs=8, quick=True, final=True, fixed=FIXED)


def proof(folder: Path, table: FieldTable) -> dict[str, object]:
    data = Prepared.read(open_dataset(write_pairs(folder, 0.5, 8_000), "click"), PAIR_SCHEMA)
    read = Read(Semantics(table), Semantics())
    storage = optuna.storages.InMemoryStorage()
    study = Study(data, data, read, PLAN, folder / "scores", storage, lambda _: None)
    return report_of("pairs", study.run(), PLAN, {"command": "", "seconds": 0.0, "data": ""})


def test_an_effect_of_fields_is_found_and_told_from_its_controls(tmp_path: Path) -> None:
    report = proof(tmp_path, kind_table())
    assert report["verdict_code"] == "gain", report["verdict"]
    assert report["ships"] == FIELDS
    against = report["against"]
    assert isinstance(against, dict)
    assert set(against) == {PLAIN, WIDENED, "random field vectors", "shuffled field vectors"}


@pytest.mark.long
def test_vectors_without_a_meaning_are_not_taken_for_one(tmp_path: Path) -> None:
    true = kind_table()
    vectors = np.random.default_rng(3).normal(size=true.vectors.shape).astype(np.float32)
    assert proof(tmp_path, FieldTable(true.fields, vectors, "m", "r"))["verdict_code"] != "gain"
