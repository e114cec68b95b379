from pathlib import Path
from typing import Any

import pytest
import typer

from benchmarks.results.__main__ import Run, all_runs
from benchmarks.results.page import written
from benchmarks.results.targets import target_rows
from services.cli.main import app

DIFFERENCE = {"value": 0.01, "interval": [-0.002, 0.03], "detectable": 0.02}
COMPARED = {"auc": DIFFERENCE, "relaimpr": DIFFERENCE, "logloss": DIFFERENCE}
ARM = {"auc": 0.7, "relaimpr": 0.0, "logloss": 0.5, "ece": 0.01}
REPORT = {
    "ships": "fields + values",
    "judged_on": "test",
    "rows": 1234,
    "seeds": 5,
    "backbones": ["deepfm", "fm"],
    "data": "split by time",
    "command": "make results ONLY=x",
    "seconds": 600.0,
    "verdict": "No gain.",
    "verdict_code": "no-gain",
    "left_out": ["fm, plain: 2 of 4 trials for lack of time"],
    "arms": [
        {"name": "plain", "backbone": "deepfm", **ARM},
        {"name": "plain", "backbone": "fm", **ARM, "auc": 0.8},
        {"name": "fields + values", "backbone": "deepfm", **ARM, "relaimpr": 0.02},
        {"name": "fields + values", "backbone": "fm", **ARM, "relaimpr": 0.04},
    ],
    "against": {"plain": COMPARED, "random field vectors": COMPARED},
}


@pytest.mark.parametrize("run", all_runs(), ids=lambda run: run.name)
def test_each_run_is_a_command_that_is_understood(run: Run, tmp_path: Path) -> None:
    arguments = run.arguments(tmp_path, tmp_path / "out")
    (tmp_path / run.data).mkdir()
    command: Any = typer.main.get_command(app)
    prove = command.commands[arguments[0]]
    parsed = prove.make_context("prove", arguments[1:]).params
    assert parsed["schema"].is_file()
    assert parsed["final"]


def test_the_page_states_every_table_and_what_was_not_run() -> None:
    page = written([("Shop, by time", "shop", REPORT)], ["Films"])
    assert (
        "| Shop, by time | fields + values | +0.0100 | +1.00% | -0.20% .. +3.00% | 2.00% | +0.0100 | no-gain |" in page
    )
    assert "| plain | 0.7500 | +0.00% | 0.5000 | 0.0100 |" in page, "the mean over backbones"
    assert "| fields + values | 0.7000 | +3.00% | 0.5000 | 0.0100 |" in page
    assert "- Left out: fm, plain: 2 of 4 trials for lack of time" in page
    assert "## Not run yet\n\n- Films" in page


def arm(name: str, ece: float, ratio: float, within: bool) -> dict[str, object]:
    return {
        **ARM,
        "name": name,
        "backbone": "fm",
        "ece": ece,
        "predicted_over_true": ratio,
        "perfect": {"within": within},
    }


def report_on(dataset: str, gain: float) -> dict[str, Any]:
    one = {"value": gain, "interval": [gain - 0.01, gain + 0.01], "detectable": 0.01}
    against = {name: {"auc": one, "relaimpr": one, "logloss": one} for name in ("plain", "random field vectors")}
    arms = [arm("plain", 0.02, 1.02, False), arm("fields + values", 0.01, 0.99, True)]
    return {**REPORT, "dataset": dataset, "against": against, "arms": arms}


def test_aims_are_told_with_what_was_found_or_that_nothing_was_run() -> None:
    rows = {row[0].split(":")[0]: row for row in target_rows({})}
    assert {row[3] for row in rows.values()} == {"not run"}
    reports = {name: report_on(name, 0.04) for name in ("ml1m", "magazine", "adult", "ml1m-item-cold-quick")}
    reports["ml1m-users-5-quick"] = report_on("ml1m", 0.04)
    rows = {row[0].split(":")[0]: row for row in target_rows(reports)}
    assert [row[3] for row in rows.values()] == [
        "reached",
        "reached",
        "not run",
        "**not reached**",
        "not run",
        "reached",
        "reached",
    ]
    weak = {name: report_on(name, 0.001) for name in ("ml1m", "magazine", "adult")}
    assert "not surely better than: plain, random field vectors" in target_rows(weak)[0][2]
