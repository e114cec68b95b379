import datetime as dt
import json
import math
import multiprocessing
import os
import signal
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file
from shop import QUICK, SHOP, shop_rows, shop_table

from llactr_core.bundle import Bundle
from llactr_core.data.splits import Splits, open_dataset
from llactr_core.enhancers.model import CTRModel
from llactr_core.errors import ArtifactError, BundleError, DataError, JobCancelled, OptionError, SchemaError
from llactr_core.models.registry import BACKBONES
from llactr_core.progress import Progress, silent
from llactr_core.schema import Field, Kind, Schema
from llactr_core.scorer import Scorer
from llactr_core.semantics.semantics import Semantics
from llactr_core.training.data import Batch
from llactr_core.training.loop import loss_of
from llactr_core.training.options import TrainOptions
from llactr_core.training.pipeline import train_bundle


class StopAt:
    """Ends the run at its n-th report."""

    def __init__(self, report: int, *, kill: bool = False) -> None:
        self.left = report
        self.kill = kill

    def __call__(self, progress: Progress) -> None:
        self.left -= 1
        if self.left < 0 and self.kill:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.left < 0:
            raise JobCancelled("stopped by the test")


REST = sorted(set(BACKBONES) - {"fm", "wukong"})


def test_it_learns_and_reads_test_only_when_told(shop: Splits, shop_bundle: Bundle, tmp_path: Path) -> None:
    assert shop_bundle.metrics["valid"]["auc"] > 0.65
    assert shop_bundle.metrics["test"]["auc"] > 0.65
    assert {"logloss", "ece", "predicted_over_true", "gauc"} <= set(shop_bundle.metrics["valid"])
    blind = train_bundle(shop, SHOP, Semantics(shop_table()), QUICK, tmp_path / "b", tmp_path / "c", silent)
    assert "test" not in blind.metrics
    assert blind.version == shop_bundle.version, "equal data, options and seed must give an equal bundle"


def test_another_seed_or_table_gives_another_model(shop: Splits, shop_bundle: Bundle, tmp_path: Path) -> None:
    other_seed = QUICK.model_copy(update={"seed": 7})
    other = train_bundle(shop, SHOP, Semantics(shop_table()), other_seed, tmp_path / "s", tmp_path / "c", silent)
    table = train_bundle(shop, SHOP, Semantics(shop_table(5)), QUICK, tmp_path / "t", tmp_path / "c", silent)
    assert len({shop_bundle.version, other.version, table.version}) == 3


@pytest.mark.parametrize("name", sorted(BACKBONES))
def test_every_backbone_trains_with_and_without_the_enhancer(name: str, shop: Splits, tmp_path: Path) -> None:
    for enhancer in ("none", "llactr") if name in ("fm", "deepfm") else ("llactr",):
        options = TrainOptions.parse({"backbone": name, "enhancer": enhancer, "epochs": 1, "batch_size": 512})
        bundle = train_bundle(shop, SHOP, Semantics(shop_table()), options, tmp_path / enhancer, tmp_path / "c", silent)
        assert 0 < bundle.metrics["valid"]["logloss"] < 1
        assert (bundle.path / "field_table.safetensors").exists() == (enhancer == "llactr")


def test_killed_with_sigkill_it_resumes_to_the_same_bundle(shop: Splits, tmp_path: Path) -> None:
    dropout = QUICK.model_copy(update={"backbone_options": {"hidden": [16], "dropout": 0.1}, "evaluations": 3})
    whole = train_bundle(shop, SHOP, Semantics(shop_table()), dropout, tmp_path / "whole", tmp_path / "c1", silent)
    spawn = multiprocessing.get_context("fork")
    stops = 0
    for report in (1, 2, 4):
        child = spawn.Process(
            target=train_bundle,
            args=(
                shop,
                SHOP,
                Semantics(shop_table()),
                dropout,
                tmp_path / "cut",
                tmp_path / "c2",
                StopAt(report, kill=True),
            ),
        )
        child.start()
        child.join(60)
        stops += child.exitcode == -signal.SIGKILL
    resumed = train_bundle(shop, SHOP, Semantics(shop_table()), dropout, tmp_path / "cut", tmp_path / "c2", silent)
    assert stops >= 2
    assert resumed.version == whole.version


def test_bf16_learns_what_fp32_learns_and_is_served_in_fp32(shop: Splits, shop_bundle: Bundle, tmp_path: Path) -> None:
    half = QUICK.model_copy(update={"precision": "bf16"})
    bundles = [
        train_bundle(shop, SHOP, Semantics(shop_table()), half, tmp_path / n, tmp_path / "c", silent) for n in "ab"
    ]
    assert bundles[0].version == bundles[1].version != shop_bundle.version
    assert bundles[0].metrics["valid"]["auc"] == pytest.approx(shop_bundle.metrics["valid"]["auc"], abs=0.01)
    assert {str(t.dtype) for t in load_file(bundles[0].path / "weights.safetensors").values()} == {"torch.float32"}


def test_an_interrupted_run_leaves_no_bundle(shop: Splits, tmp_path: Path) -> None:
    with pytest.raises(JobCancelled):
        train_bundle(shop, SHOP, Semantics(shop_table()), QUICK, tmp_path / "b", tmp_path / "c", StopAt(1))
    assert not (tmp_path / "b").exists()


def test_a_damaged_checkpoint_is_refused(shop: Splits, tmp_path: Path) -> None:
    (tmp_path / "training.safetensors").write_bytes(b"half")
    with pytest.raises(ArtifactError, match="delete it to train anew"):
        train_bundle(shop, SHOP, Semantics(shop_table()), QUICK, tmp_path / "b", tmp_path, silent)


def test_a_directory_with_another_bundle_is_kept(shop: Splits, shop_bundle: Bundle, tmp_path: Path) -> None:
    other = QUICK.model_copy(update={"seed": 7, "epochs": 1})
    with pytest.raises(BundleError, match="holds another bundle"):
        train_bundle(shop, SHOP, Semantics(shop_table()), other, shop_bundle.path, tmp_path, silent)
    assert Bundle.open(shop_bundle.path).version == shop_bundle.version


def test_the_enhancer_needs_the_table_of_its_fields(shop: Splits, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="needs a field table"):
        train_bundle(shop, SHOP, Semantics(), QUICK, tmp_path / "b", tmp_path / "c", silent)
    wrong = replace(shop_table(), fields=("a", "b", "c", "d"))
    with pytest.raises(SchemaError, match="refresh the table"):
        train_bundle(shop, SHOP, Semantics(wrong), QUICK, tmp_path / "b", tmp_path / "c", silent)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"epochs": 0}, "'epochs'"),
        ({"learning_rate": "fast"}, "'learning_rate'"),
        ({"epoch": 3}, "'epoch'"),
        ({"llactr": {"fre": 1}}, "'llactr.fre'"),
        ({"enhancer": "magic"}, "'enhancer'"),
        ({"precision": "fp16"}, "'precision'"),
    ],
)
def test_bad_options_are_named(content: object, said: str) -> None:
    with pytest.raises(OptionError, match=said):
        TrainOptions.parse(content)


def test_an_unknown_backbone_is_refused_with_the_known_ones(shop: Splits, tmp_path: Path) -> None:
    options = TrainOptions(backbone="deepfn", enhancer="none")
    with pytest.raises(OptionError, match="deepfm"):
        train_bundle(shop, SHOP, Semantics(), options, tmp_path / "b", tmp_path / "c", silent)


def test_a_field_with_one_value_does_no_harm(tmp_path: Path) -> None:
    rows = shop_rows(300, 1)
    same = rows.set_column(1, "colour", pa.array(["red"] * 300)).set_column(2, "price", pa.array([1.0] * 300))
    for name in ("train", "valid", "test"):
        pq.write_table(same, tmp_path / f"{name}.parquet")
    one = QUICK.model_copy(update={"epochs": 1})
    bundle = train_bundle(
        open_dataset(tmp_path, "click"), SHOP, Semantics(shop_table()), one, tmp_path / "b", tmp_path / "c", silent
    )
    assert bundle.metrics["valid"]["logloss"] < 1


def test_a_group_that_is_no_column_is_refused(shop: Splits, tmp_path: Path) -> None:
    schema = SHOP.model_copy(update={"group": "nobody"})
    with pytest.raises(DataError, match="'nobody'"):
        train_bundle(shop, schema, Semantics(shop_table()), QUICK, tmp_path / "b", tmp_path / "c", silent)


def test_weights_that_are_no_numbers_end_the_run(shop: Splits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(
        model: CTRModel, batch: Batch, rows: torch.Tensor, own: torch.Tensor, options: TrainOptions
    ) -> tuple[torch.Tensor, torch.Tensor]:
        loss, _ = loss_of(model, batch, rows, own, options)
        return loss * math.nan, torch.zeros(())

    monkeypatch.setattr("llactr_core.training.loop.loss_of", broken)
    with pytest.raises(DataError, match="no longer a number"):
        train_bundle(shop, SHOP, Semantics(shop_table()), QUICK, tmp_path / "b", tmp_path / "c", silent)


def test_golden_rows_and_metrics_are_strict_json(tmp_path: Path) -> None:
    days = pa.array([[dt.date(2020, 1, 1 + i % 9)] for i in range(300)])
    moments = pa.array([1577934245000000001] * 300, pa.timestamp("ns"))
    prices = pa.array([math.nan, 1.5] * 150)
    rows = shop_rows(300, 1).append_column("days", days).append_column("at", moments).append_column("paid", prices)
    for name in ("train", "valid", "test"):
        pq.write_table(rows.append_column("row", pa.array(range(300))), tmp_path / f"{name}.parquet")
    fields = (
        Field(name="days", kind=Kind.MULTI_VALUED),
        Field(name="hour", source="at", part="hour"),
        Field(name="paid", kind=Kind.NUMERIC),
    )
    schema = Schema(name="s", label="click", group="row", fields=fields)
    options = QUICK.model_copy(update={"epochs": 1, "enhancer": "none"})
    splits = open_dataset(tmp_path, "click")
    bundle = train_bundle(splits, schema, Semantics(), options, tmp_path / "b", tmp_path / "c", silent)
    golden = json.loads((bundle.path / "golden.json").read_text(), parse_constant=pytest.fail)
    assert golden["rows"][0] == {"days": ["2020-01-01"], "at": "2020-01-02T03:04:05", "paid": None}
    json.loads((bundle.path / "manifest.json").read_text(), parse_constant=pytest.fail)
    assert "gauc" not in bundle.metrics["valid"]
    assert not Scorer.load(bundle.path).score_detailed(golden["rows"][:1])[1][0].unseen


@pytest.mark.parametrize("name", ["fm", "wukong", *(pytest.param(name, marks=pytest.mark.long) for name in REST)])
def test_one_field_is_enough(name: str, shop: Splits, tmp_path: Path) -> None:
    schema = Schema(name="s", label="click", fields=(Field(name="colour"),))
    table = replace(shop_table(), fields=("colour",), vectors=shop_table().vectors[:1])
    options = TrainOptions.parse({"backbone": name, "epochs": 1, "batch_size": 512})
    bundle = train_bundle(shop, schema, Semantics(table), options, tmp_path / "b", tmp_path / "c", silent)
    assert Scorer.load(bundle.path).score([{"colour": "red"}]).shape == (1,)


def test_one_class_is_refused(tmp_path: Path) -> None:
    rows = shop_rows(100, 1)
    clicks = rows.set_column(rows.schema.get_field_index("click"), "click", pa.array([1] * 100))
    for name in ("train", "valid", "test"):
        pq.write_table(clicks, tmp_path / f"{name}.parquet")
    with pytest.raises(DataError):
        train_bundle(open_dataset(tmp_path, "click"), SHOP, Semantics(), QUICK, tmp_path / "b", tmp_path / "c", silent)
