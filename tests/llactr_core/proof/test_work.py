"""A whole proof: within its time, on the rows that were asked for, with its reports."""

import json
import time
from pathlib import Path

import numpy as np
import optuna
import pytest
from films import FILM_SCHEMA, WIDE, value_table, write_films

from llactr_core.data.splits import Splits, open_dataset
from llactr_core.errors import DataError, LlactrError, OptionError
from llactr_core.proof.arms import Read
from llactr_core.proof.options import ProveOptions
from llactr_core.proof.reporting.pool import pool_reports, pooled
from llactr_core.proof.rows import newcomers, user_column
from llactr_core.proof.work import Json, Place, prove
from llactr_core.semantics.semantics import Semantics
from llactr_core.semantics.table import FieldTable


def read(_splits: Splits) -> Read:
    vectors = np.random.default_rng(9).normal(size=(3, WIDE)).astype(np.float32)
    return Read(Semantics(FieldTable(FILM_SCHEMA.names, vectors, "m", "r"), value_table()), Semantics())


def proof(data: Path, out: Path, **given: object) -> Json:
    out.mkdir(exist_ok=True)
    options = ProveOptions.parse({"quick": True, "backbones": ("fm",), "user": "user", "epochs": 2, **given})
    place = Place(out, optuna.storages.InMemoryStorage())
    splits = open_dataset(data, "click")
    return prove(splits, FILM_SCHEMA, options, read, place, {"command": "llactr prove"})


def test_with_little_time_less_is_done_for_all_arms_alike_and_told(tmp_path: Path) -> None:
    write_films(tmp_path)
    began = time.monotonic()
    report = proof(tmp_path, tmp_path / "out", minutes=0.01, seeds=3, trials=3)
    assert time.monotonic() - began < 60
    left_out = " ".join(map(str, report["left_out"]))  # type: ignore[call-overload]
    for what in ("2 of 3 trials of every arm", "2 of 3 seeds of every arm", "rows of train"):
        assert what in left_out
    assert report["seeds"] == 1
    assert {arm["trials"] for arm in report["arms"] if "trials" in arm} == {1}  # type: ignore[attr-defined]
    assert json.loads((tmp_path / "out" / "report.json").read_text())["verdict"] == report["verdict"]
    page = (tmp_path / "out" / "report.html").read_text()
    for part in ("for lack of time", "Calibration", "Named by the caller: users: user"):
        assert part in page
        assert part in (tmp_path / "out" / "report.md").read_text()


def test_a_learning_curve_has_a_point_for_each_share_of_the_users(tmp_path: Path) -> None:
    write_films(tmp_path)
    report = proof(tmp_path, tmp_path / "out", cut="learning-curve", seeds=1, trials=1, minutes=0.05)
    curve = report["curve"]
    assert isinstance(curve, list)
    assert [point["percent"] for point in curve] == [5, 20, 100]
    assert curve[0]["rows"] < curve[1]["rows"]
    assert "Learning curve" in (tmp_path / "out" / "report.html").read_text()


def test_cold_items_are_read_from_the_rows_that_are_judged(tmp_path: Path) -> None:
    splits = open_dataset(write_films(tmp_path), "click")
    cold = {"cut": "item-cold", "item": "film"}
    assert newcomers(splits, ProveOptions.parse(cold)) == (splits.valid,)
    assert newcomers(splits, ProveOptions.parse({**cold, "final": True})) == (splits.valid, splits.test)
    assert newcomers(splits, ProveOptions()) == ()


@pytest.mark.parametrize(
    "given",
    [
        {"cut": "item-cold"},
        {"cut": "users-7"},
        {"backbones": ("fm", "fm")},
        {"methods": ("ctrl", "ctrl")},
        {"backbones": ("svm",)},
        {"backbones": ()},
        {"minutes": 0},
        {"methods": ("bert",)},
        {"methods": ("larr",), "larr": {"speed": 1}},
        {"methods": ("larr",), "larr": {"heads": 3}},
        {"methods": ("ctrl",), "ctrl": {"nouns": {"film": "a film"}}},
        {"methods": ("ctrl",), "larr": {"width": 8}},
        {"seed": 1},
    ],
    ids=str,
)
def test_options_that_mean_nothing_are_refused(given: dict[str, object]) -> None:
    with pytest.raises(OptionError):
        ProveOptions.parse(given)


def test_columns_that_are_not_there_are_refused(tmp_path: Path) -> None:
    splits = open_dataset(write_films(tmp_path), "click")
    with pytest.raises(LlactrError, match="nobody"):
        user_column(splits, FILM_SCHEMA, ProveOptions(user="nobody"))
    with pytest.raises(OptionError, match="needs 'user'"):
        proof(tmp_path, tmp_path / "out", cut="users-5", user=None)


def report_of(dataset: str, gain: float, spread: float) -> dict[str, object]:
    def one(value: float) -> dict[str, object]:
        return {"value": value, "interval": [value - 2 * spread, value + 2 * spread], "detectable": 2.8 * spread}

    against = {
        name: {"auc": one(gain / 4), "logloss": one(-gain), "relaimpr": one(gain)}
        for name in ("plain", "plain widened")
    }
    about = {"ships": "fields", "judged_on": "test", "backbones": ["fm"], "seeds": 5, "rows": 100, "arms": []}
    return {"dataset": dataset, "against": against, **about}


def test_several_datasets_together_say_more_than_each() -> None:
    each = [report_of(name, gain, 0.02) for name, gain in (("a", 0.02), ("b", 0.03), ("c", 0.025), ("d", 0.021))]
    found = pooled(each)["against"]["plain"]["relaimpr"]  # type: ignore[index]
    assert found["value"] == pytest.approx(0.024)
    low, high = found["interval"]
    assert high - low == pytest.approx(2 * 1.96 * 0.02 / 2, rel=0.05)
    assert low > 0
    wide = found["interval_of_like"]
    assert wide[1] - wide[0] > high - low
    differing = pooled([report_of("a", -0.05, 0.001), report_of("b", 0.11, 0.001)])
    assert differing["against"]["plain"]["relaimpr"]["interval_of_like"][0] < 0  # type: ignore[index]


def test_pooled_reports_are_written_and_others_refused(tmp_path: Path) -> None:
    files = [tmp_path / f"{name}.json" for name in "ab"]
    for file in files:
        file.write_text(json.dumps(report_of(file.stem, 0.1, 0.01)))
    report = pool_reports(files, tmp_path / "out")
    assert report["verdict_code"] == "gain"
    assert "plain widened" in (tmp_path / "out" / "report.md").read_text()
    with pytest.raises(DataError, match="two or more"):
        pool_reports([files[0], files[0]], tmp_path / "out")
    (tmp_path / "c.json").write_text("[]")
    with pytest.raises(DataError, match="no report"):
        pool_reports([files[0], tmp_path / "c.json"], tmp_path / "out")
