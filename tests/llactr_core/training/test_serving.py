"""Graphs with 8-bit products: near the exact scores, alike in any company, and only where they cost no AUC."""

from pathlib import Path

import numpy as np
import pytest
from shop import QUICK, SHOP, shop_rows, shop_table
from takeaway import LARR, scene_table, takeaway

from llactr_core.bundle import GRAPH, Bundle
from llactr_core.data.splits import Splits
from llactr_core.explainer import Explainer
from llactr_core.metrics.ranking import auc
from llactr_core.progress import silent
from llactr_core.scorer import Scorer
from llactr_core.semantics.semantics import Semantics
from llactr_core.training import serving
from llactr_core.training.options import TrainOptions
from llactr_core.training.pipeline import train_bundle

INT8 = {"served_precision": "int8"}


def trained(shop: Splits, folder: Path, **changes: object) -> Bundle:
    own = {} if changes.get("backbone", QUICK.backbone) == QUICK.backbone else {"backbone_options": {}}
    options = QUICK.model_copy(update=changes | own)
    return train_bundle(shop, SHOP, Semantics(shop_table()), options, folder / "b", folder / "c", silent)


LONG = [pytest.param(name, marks=pytest.mark.long) for name in ("autoint", "finalmlp")]


@pytest.mark.parametrize("backbone", ["deepfm", "wukong", *LONG])
def test_rounded_graphs_score_nearly_alike(
    backbone: str, shop: Splits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "MOST_LOST", 0.003)  # with so few rows, 0.0005 is a matter of luck
    exact = Scorer.load(trained(shop, tmp_path / "exact", backbone=backbone).path)
    rounded = Scorer.load(trained(shop, tmp_path / "rounded", backbone=backbone, **INT8).path)
    rows = shop_rows(2000, 5)
    scores, exact_scores = rounded.score(rows), exact.score(rows)
    assert (exact.precision, rounded.precision) == ("fp32", "int8")
    assert 0 < np.abs(scores - exact_scores).max() < 0.02
    labels = rows["click"].to_numpy()
    assert abs(auc(labels, scores) - auc(labels, exact_scores)) < serving.MOST_LOST
    assert rounded.bundle.metrics["rounding"]["auc_lost"] <= serving.MOST_LOST
    few = rows.slice(0, 20).to_pylist()
    np.testing.assert_allclose([rounded.score([row])[0] for row in few], scores[:20], rtol=0, atol=1e-6)
    found = Explainer.load(rounded).explain(rounded, few)
    np.testing.assert_allclose(found.shares.sum(1) + found.bias + found.deep_baseline, found.logits, rtol=0, atol=1e-9)


def test_equal_runs_give_equal_rounded_bundles(shop: Splits, tmp_path: Path) -> None:
    assert trained(shop, tmp_path / "1", **INT8).version == trained(shop, tmp_path / "2", **INT8).version


def test_a_graph_that_would_lose_auc_stays_exact(
    shop: Splits, shop_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "MOST_LOST", -1.0)
    bundle = trained(shop, tmp_path, **INT8)
    assert bundle.manifest["precision"] == "fp32"
    assert bundle.metrics["rounding"]["is_kept"] is False
    assert (bundle.path / GRAPH).read_bytes() == (shop_bundle.path / GRAPH).read_bytes()


def test_a_model_without_a_graph_has_nothing_to_round(shop: Splits, tmp_path: Path) -> None:
    bundle = trained(shop, tmp_path, backbone="fm", **INT8)
    assert bundle.manifest["precision"] == "fp32"
    assert "rounding" not in bundle.metrics


@pytest.mark.long
def test_the_encoder_of_scenes_is_rounded_too(tmp_path: Path) -> None:
    log, semantics = takeaway(tmp_path), Semantics(values=scene_table())
    options = [LARR, LARR.model_copy(update=INT8)]
    folders = [tmp_path / "exact", tmp_path / "rounded"]
    bundles = [
        train_bundle(*log, semantics, one, folder, tmp_path / "c", silent)
        for one, folder in zip(options, folders, strict=True)
    ]
    exact, rounded = (Scorer.load(bundle.path) for bundle in bundles)
    rows = next(iter(log[0].test.batches(list(exact.schema.columns))))
    assert rounded.precision == "int8"
    assert 0 < np.abs(rounded.score(rows) - exact.score(rows)).max() < 0.02


def test_only_known_precisions_are_taken() -> None:
    with pytest.raises(Exception, match="served_precision"):
        TrainOptions.parse({"served_precision": "int4"})
