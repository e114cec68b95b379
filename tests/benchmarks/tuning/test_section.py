"""The rows from what was measured; measuring itself takes minutes."""

import pytest

from benchmarks.tuning.ctrl import RowCost
from benchmarks.tuning.curves import _three
from benchmarks.tuning.preparation import Preparation
from benchmarks.tuning.section import preparation_rows, step_rows
from benchmarks.tuning.steps import MEANING, Steps

TIMES = {
    "ours": [0.2, 0.1, 0.3],
    "plain": [0.4, 0.5, 0.6],
    "reference": [0.8],
    "plain bf16": [0.3],
    "reference bf16": [0.4],
}
STEPS = Steps(
    seeds=(0, 1),
    meaning=MEANING,
    ratios={"plain": [2.0, 5.0, 2.5], "reference": [4.0], "plain bf16": [1.5], "reference bf16": [2.0]},
    cpu=TIMES,
    wall=TIMES,
    accuracy={"ours": [0.9, 0.8], "plain": [0.8, 0.8]},
    tokens_per_step=600.0,
    floor_s=0.1,
    loss_difference=2e-6,
    compared=27,
    prefix=[1.2, 1.3],
)


def test_step_rows_are_medians_with_their_spread_and_have_the_goals_of_the_comparison():
    rows = {row.name: row for row in step_rows(STEPS)}
    plain = rows["SSFT step, against the plain loop, fields once per step, float32"]
    assert (plain.value, plain.spread, plain.op, plain.reach, plain.unit) == (2.5, (2.0, 5.0), ">=", 2.0, "x")
    assert [row.reach for name, row in rows.items() if "bfloat16" in name and "against" in name] == [None, None]
    ours = rows["SSFT step, ours"]
    assert (ours.value, ours.cpu_s) == (pytest.approx(200), 0.2)
    assert rows["SSFT, tokens of prompts per CPU second"].value == pytest.approx(3000)
    accuracy = next(row for name, row in rows.items() if "accuracy" in name)
    assert accuracy.value == pytest.approx(0.05)
    assert "ours: 0.900, 0.800; plain: 0.800, 0.800" in accuracy.note


def test_ctrls_cost_is_extrapolated_in_the_open():
    found = Preparation(ours_s=[10.0, 20.0, 30.0], steps=135, ctrl=RowCost(0.02, 0.005, 55.0), rows=500_000, slice=512)
    trained, read, *_ = preparation_rows(found)
    assert (trained.value, trained.reach, trained.spread) == (500, 100, (pytest.approx(333.3, abs=0.1), 1000))
    assert (read.value, read.reach) == (125, None)
    assert "500,000 rows x 20.00 ms, measured on 512 rows and extrapolated, over 20.0 s" in trained.note


def test_a_ratios_curve_is_point_by_point():
    ours, ctrl, ratio = _three("rows", ((1.0, 2.0), (10.0, 4.0)), ((1.0, 2.0), (10.0, 40.0)), "how")
    assert ratio.points == ((1.0, 1.0), (10.0, 10.0))
    assert (ours.y_label, ctrl.y_label, ratio.y_label) == ("CPU s", "CPU s", "x")
