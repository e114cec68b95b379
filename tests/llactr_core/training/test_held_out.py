import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from shop import QUICK, SHOP, shop_rows, shop_table

from llactr_core.bundle import Bundle
from llactr_core.calibration import Calibrator
from llactr_core.data.holdout import GATE, held_out_parts
from llactr_core.data.splits import Splits, open_dataset
from llactr_core.metrics.report import evaluate
from llactr_core.progress import silent
from llactr_core.scorer import Scorer
from llactr_core.semantics.semantics import Semantics
from llactr_core.training.pipeline import train_bundle


def test_the_gate_has_the_rows_that_nothing_else_used(shop: Splits, shop_bundle: Bundle) -> None:
    rows = pq.read_table(shop_bundle.path / "gate.parquet")
    valid = pa.Table.from_batches(shop.valid.batches())
    expected = valid.filter(pa.array(held_out_parts(0, valid.num_rows, 0.5) == GATE))
    assert rows.select(expected.column_names).equals(expected)


def test_its_metrics_are_those_of_the_scorer_on_the_gate_rows(shop_bundle: Bundle) -> None:
    scorer = Scorer.load(shop_bundle.path)
    rows = pq.read_table(shop_bundle.path / "gate.parquet")
    labels = rows["click"].to_numpy()
    told = shop_bundle.metrics["held_out"]
    assert (told["rows"], told["clicks"]) == (len(labels), labels.sum())
    assert told["is_independent"] is True
    assert told["calibration"] == scorer.calibrator.method
    for name, value in evaluate(labels, scorer.score(rows)).items():
        assert told[name] == pytest.approx(value, abs=1e-4)
    assert told["auc"] == pytest.approx(told["uncalibrated"]["auc"], abs=1e-6)  # type: ignore[index]


def test_scores_are_the_calibrated_logits(shop: Splits, tmp_path: Path) -> None:
    options = QUICK.model_copy(update={"epochs": 1, "calibration": "platt"})
    bundle = train_bundle(shop, SHOP, Semantics(shop_table()), options, tmp_path / "b", tmp_path / "c", silent)
    scorer, rows = Scorer.load(bundle.path), shop_rows(200, 4)
    assert scorer.calibrator.method == "platt"
    logits = scorer.logits(rows)
    np.testing.assert_array_equal(scorer.score(rows), scorer.calibrator.probabilities(logits))
    np.testing.assert_allclose(scorer.score(rows, raw=True), 1 / (1 + np.exp(-logits)))
    np.testing.assert_array_equal(scorer.score_detailed(rows)[0], scorer.score(rows))
    assert not np.allclose(scorer.score(rows), scorer.score(rows, raw=True))
    golden = json.loads((bundle.path / "golden.json").read_text())
    np.testing.assert_allclose(scorer.score(golden["rows"]), golden["scores"], atol=1e-6)


def test_nothing_held_out_means_no_calibration_and_no_gate(shop: Splits, tmp_path: Path) -> None:
    options = QUICK.model_copy(update={"epochs": 1, "held_out": 0.0})
    bundle = train_bundle(shop, SHOP, Semantics(shop_table()), options, tmp_path / "b", tmp_path / "c", silent)
    assert "held_out" not in bundle.metrics
    assert not (bundle.path / "gate.parquet").exists()
    assert Scorer.load(bundle.path).calibrator == Calibrator()


@pytest.mark.parametrize("clicks", [1, 2, 6])
def test_few_valid_rows_still_train(clicks: int, tmp_path: Path) -> None:
    for name in ("train", "valid", "test"):
        rows = shop_rows(300 if name == "train" else 12, 1)
        if name == "valid":
            rows = rows.set_column(4, "click", pa.array([1] * clicks + [0] * (12 - clicks), pa.int8()))
        pq.write_table(rows, tmp_path / f"{name}.parquet")
    options = QUICK.model_copy(update={"epochs": 1, "enhancer": "none"})
    splits = open_dataset(tmp_path, "click")
    bundle = train_bundle(splits, SHOP, Semantics(), options, tmp_path / "b", tmp_path / "c", silent)
    held_out = bundle.metrics["held_out"]
    assert held_out["calibration"] == "identity"
    assert pq.read_table(bundle.path / "gate.parquet").num_rows == held_out["rows"]
    assert 0 < Scorer.load(bundle.path).score([{}])[0] < 1
    json.loads((bundle.path / "manifest.json").read_text(), parse_constant=pytest.fail)
