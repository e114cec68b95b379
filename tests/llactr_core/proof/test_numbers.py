"""Reports in which a number is not defined."""

import json

import numpy as np
import pytest

from llactr_core.errors import DataError
from llactr_core.proof.intervals import Judged, compare
from llactr_core.proof.reporting.numbers import as_json, between, percent
from llactr_core.proof.reporting.page import against_rows
from llactr_core.proof.reporting.plots import forest
from llactr_core.proof.reporting.pool import pooled
from llactr_core.proof.reporting.report import comparison_json, judge


def test_a_plain_arm_that_ranks_by_chance_gives_a_verdict_valid_json_and_a_page() -> None:
    random = np.random.default_rng(0)
    labels = (random.random(200) < 0.3).astype(float)
    base, better = np.full((2, 200), 0.3), 0.2 + 0.3 * labels[None] + 0.1 * random.random((2, 200))
    found = compare(Judged(labels, None), {"fm": better}, {"fm": base})
    verdict = judge("values", {"plain": found})
    assert "RelaImpr is not defined" in verdict.text
    assert "nan" not in verdict.text
    content = json.loads(as_json({"plain": comparison_json(found)}), parse_constant=pytest.fail)
    assert content["plain"]["relaimpr"]["value"] is None
    [row] = against_rows(content)
    assert row[1:3] == ["not defined", "not defined"]
    arm = {"backbone": "fm", "name": "values", "relaimpr": found.relaimpr.value, "interval": [-1.0, float("inf")]}
    assert forest([arm]).startswith("<svg")
    reports = [
        {"dataset": name, "judged_on": "test", "ships": "v", "against": content, "arms": []} for name in ("one", "two")
    ]
    with pytest.raises(DataError, match="reports of one, two have no relaimpr against plain"):
        pooled(reports)


def test_defined_numbers_are_written_as_percent() -> None:
    assert percent(-0.001) == "-0.10%"
    assert between(0.01, 0.02) == "+1.00% .. +2.00%"
