"""The gate's rule: how often it is wrong about equal and about worse challengers, and what it says when."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from llactr_core.bundle import GATE_ROWS
from llactr_core.metrics.ranking import auc
from services.ctr.promotion.bootstrap import Bootstrap, Ranking, auc_difference
from services.ctr.promotion.gate import Evidence, GateResult, GateRule, decide, judge

RULE = GateRule(resamples=150)


def evidence(seed: int, rows: int = 500, noise: float = 0.0, users: int | None = None, volume: float = 1.0) -> Evidence:
    """Rows whose champion knows the truth but for some noise; the challenger has other noise, and `noise` more."""
    random = np.random.default_rng(seed)
    logits = random.normal(-1.5, 1.2, rows)
    labels = (random.random(rows) < 1 / (1 + np.exp(-logits))).astype(np.float64)
    champion = 1 / (1 + np.exp(-logits - random.normal(0, 0.3, rows)))
    challenger = 1 / (1 + np.exp(-logits - random.normal(0, np.hypot(0.3, noise), rows)))
    challenger *= volume * labels.sum() / max(challenger.sum(), 1.0)
    groups = np.arange(rows) if users is None else random.integers(users, size=rows)
    return Evidence(labels, groups, challenger, champion)


def share_refused(rule: GateRule, count: int = 60, **how: Any) -> float:
    return float(np.mean([not decide(evidence(seed, **how), rule, {}).passed for seed in range(count)]))


@pytest.mark.parametrize("users", [None, 100])
def test_an_equal_challenger_is_refused_in_at_most_one_of_twenty_cases(users: int | None) -> None:
    assert share_refused(RULE, users=users) <= 0.05


def test_a_worse_challenger_is_refused_in_nine_of_ten_cases() -> None:
    worse = [evidence(seed, rows=2000, noise=1.2) for seed in range(12)]
    losses = [auc(one.labels, one.champion) - auc(one.labels, one.challenger) for one in worse]
    assert 0.03 < np.mean(losses) < 0.1
    assert np.mean([not decide(one, RULE, {}).passed for one in worse]) >= 0.9


def test_proof_is_stricter_than_harm() -> None:
    assert share_refused(replace(RULE, kind="proof"), count=15) > 0.5
    equal = evidence(1)
    assert decide(replace(equal, challenger=equal.champion), replace(RULE, kind="proof"), {}).numbers["difference"] == {
        "value": 0.0,
        "interval": [0.0, 0.0],
    }


def test_a_wider_margin_lets_a_worse_challenger_pass() -> None:
    worse = evidence(3, rows=2000, noise=1.2)
    refused = decide(worse, RULE, {})
    assert (refused.passed, "worse by more than the margin" in refused.reason) == (False, True)
    assert decide(worse, replace(RULE, margin=0.2), {}).passed


@pytest.mark.parametrize(
    ("volume", "rows", "kind", "passes"),
    [
        (1.0, 500, "harm", True),
        (1.5, 500, "harm", False),
        (0.5, 500, "harm", False),
        (1.12, 200, "harm", True),
        (1.12, 200, "proof", False),
        (1.2, 20_000, "harm", False),
    ],
)
def test_the_ratio_of_predicted_to_true_clicks_is_held_to_the_interval(
    volume: float, rows: int, kind: Any, passes: bool
) -> None:
    result = decide(evidence(1, rows=rows, volume=volume), replace(RULE, kind=kind, margin=1.0), {})
    assert result.passed is passes, result.reason
    assert result.numbers["ratio"]["value"] == pytest.approx(volume, abs=1e-5)
    assert ("within" if volume == 1.0 else "outside 0.9 to 1.1") in result.reason
    assert decide(evidence(1, rows=rows, volume=volume), replace(RULE, ratio_low=0.1, ratio_high=9.0), {}).passed


@pytest.mark.parametrize("kind", ["harm", "proof"])
@pytest.mark.parametrize("case", ["no rows", "one class", "few clicks", "one user"])
def test_too_little_to_judge_on_never_passes(kind: Any, case: str) -> None:
    rows = evidence(1, rows={"no rows": 0, "few clicks": 20}.get(case, 200), users=1 if case == "one user" else None)
    if case == "one class":
        rows = replace(rows, labels=np.zeros(200))
    result = decide(rows, replace(RULE, kind=kind), {})
    assert (result.passed, "too few" in result.reason) == (False, True)


def test_no_number_never_passes() -> None:
    rows = evidence(1)
    broken = np.where(np.arange(500) == 7, np.nan, rows.challenger)
    assert not decide(replace(rows, challenger=broken), RULE, {}).passed
    other = decide(replace(rows, champion=broken), RULE, {})
    assert (other.passed, other.numbers["difference"]) == (True, None)
    assert "the ratio alone" in other.reason


def test_the_draws_are_of_whole_groups_and_the_same_every_time() -> None:
    one = evidence(5)
    difference = auc_difference(one.labels, one.challenger, one.champion if one.champion is not None else one.labels)
    by_row, by_user, again = (
        Bootstrap(groups, 300, 1, 0.95).intervals([difference])[0]
        for groups in (np.arange(500), np.repeat(np.arange(50), 10), np.repeat(np.arange(50), 10))
    )
    assert by_user == again
    assert by_user != by_row
    together = Bootstrap(np.repeat([0, 1], 250), 50, 1, 0.95)
    assert {tuple(np.unique(weights)) for weights in together._draws()} == {(0.0, 2.0), (1.0,)}


def test_weighted_auc_is_that_of_repeated_rows() -> None:
    random = np.random.default_rng(0)
    labels, scores = random.integers(2, size=60).astype(float), random.integers(9, size=60).astype(float)
    weights = random.integers(4, size=60)
    repeated = auc(np.repeat(labels, weights), np.repeat(scores, weights))
    assert Ranking(labels, scores).auc(weights.astype(float)) == pytest.approx(repeated)


def test_real_bundles_are_judged_on_the_rows_that_the_challenger_keeps(bundles: Any, scorers: Any) -> None:
    rows = bundles["none"].path / GATE_ROWS
    result = judge(scorers["none"], scorers["llactr"], rows, GateRule())
    table = pq.read_table(rows)
    assert result.numbers["rows"] == len(table)
    assert result.numbers["clicks"] == sum(table["click"].to_pylist())
    for role, name in (("challenger", "none"), ("champion", "llactr")):
        assert result.numbers[role] == scorers[name].version
        assert result.numbers["auc"][role] == pytest.approx(auc(table["click"], scorers[name].score(table)), abs=1e-6)
    assert result == judge(scorers["none"], scorers["llactr"], rows, GateRule())
    assert GateResult.of_json(result.as_json()) == result


def test_a_bundle_without_rows_is_refused_with_what_to_do(scorers: Any, tmp_path: Path) -> None:
    result = judge(scorers["none"], scorers["llactr"], tmp_path / GATE_ROWS, GateRule())
    assert (result.passed, "train the version again, or force" in result.reason) == (False, True)


@pytest.mark.parametrize(("change", "word"), [("label", "its label is"), ("columns", "lacks the champion's columns")])
def test_a_champion_of_another_schema_is_not_replaced_without_force(
    bundles: Any, scorers: Any, tmp_path: Path, change: str, word: str
) -> None:
    champion = scorers["llactr"]
    table = pq.read_table(bundles["none"].path / GATE_ROWS)
    rows = tmp_path / GATE_ROWS
    if change == "columns":
        pq.write_table(table.drop_columns(["city"]), rows)
    else:
        pq.write_table(table, rows)
        champion = type("Other", (), {"schema": champion.schema.model_copy(update={"label": "y"}), "version": "v"})()
    result = judge(scorers["none"], champion, rows, GateRule())
    assert (result.passed, word in result.reason) == (False, True), result.reason
