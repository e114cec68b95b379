"""CTRL from rows to a bundle: the alignment, what training begins with, and runs that were killed."""

from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file
from shop import SHOP, shop_rows
from tiny_model import save_tiny_model

from llactr_core.bundle import WEIGHTS, Bundle
from llactr_core.data.splits import Splits, open_dataset
from llactr_core.enhancers.ctrl import run
from llactr_core.errors import ArtifactError, DataError, OptionError, SchemaError
from llactr_core.progress import Progress, silent
from llactr_core.schema import Field, Schema
from llactr_core.scorer import Scorer
from llactr_core.semantics.semantics import Semantics
from llactr_core.training.align import align
from llactr_core.training.options import TrainOptions
from llactr_core.training.pipeline import train_bundle
from llactr_core.training.prepared import Prepared
from llactr_core.training.warm import WarmStart

CTRL = TrainOptions.parse({
    "enhancer": "ctrl", "backbone_options": {"hidden": [16]}, "width": 4, "epochs": 2, "batch_size": 64,
    "ctrl": {"epochs": 2, "batch_size": 100, "width": 8, "subspaces": 2, "precision": "float32", "device": "cpu"},
})  # fmt: skip


STILL = CTRL.model_copy(update={"learning_rate": 1e-12, "epochs": 1})


class Stop(Exception):
    pass


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_tiny_model(tmp_path_factory.mktemp("models") / "tiny"))


@pytest.fixture(scope="module")
def splits(tmp_path_factory: pytest.TempPathFactory) -> Splits:
    folder = tmp_path_factory.mktemp("few")
    for name, count, seed in (("train", 250, 1), ("valid", 120, 2), ("test", 120, 3)):
        pq.write_table(shop_rows(count, seed), folder / f"{name}.parquet")
    return open_dataset(folder, "click")


def test_a_killed_run_goes_on_to_the_same_bits(splits: Splits, model: str, tmp_path: Path,
                                               monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.setattr(run, "SAVED_EVERY_S", 0.0)
    data = Prepared.read(splits, SHOP)
    seen: list[int] = []

    def stop(progress: Progress) -> None:
        if progress.step == 4 and progress.step not in seen:  # in the second epoch of three steps
            seen.append(4)
            raise Stop
        if progress.step not in seen:
            seen.append(progress.step or 0)

    with pytest.raises(Stop):
        align(data, CTRL, model, tmp_path / "a", stop)
    torch.manual_seed(99)
    resumed = align(data, CTRL, model, tmp_path / "a", stop)
    whole = align(data, CTRL, model, tmp_path / "b", silent)
    assert seen == [0, 1, 2, 3, 4, 5, 6]
    assert whole.measured["losses"] == resumed.measured["losses"]
    assert len(whole.measured["losses"]) == 2
    assert all(torch.equal(whole.start.weights[name], value) for name, value in resumed.start.weights.items())


def test_runs_that_differ_in_stage_two_share_an_alignment(splits: Splits, model: str, tmp_path: Path) -> None:
    data = Prepared.read(splits, SHOP)
    taken: list[int] = []

    def count(progress: Progress) -> None:
        taken.extend([progress.step] if progress.step and progress.step not in taken[-1:] else [])

    first = align(data, CTRL, model, tmp_path, count)
    other = CTRL.model_copy(update={"seed": 7, "learning_rate": 0.1, "epochs": 9})
    again = align(data, other, model, tmp_path, count)
    assert taken == [1, 2, 3, 4, 5, 6]
    assert again.start.version == first.start.version
    assert again.measured == first.measured
    shorter = CTRL.model_copy(update={"ctrl": CTRL.ctrl.model_copy(update={"epochs": 1})})
    assert align(data, shorter, model, tmp_path, count).start.version != first.start.version
    assert taken[6:] == [1, 2, 3]


@dataclass(frozen=True)
class Made:
    """A bundle that was aligned from the shop's and trained with hardly a step, where it was made, and the reports."""

    bundle: Bundle
    work: Path
    reports: list[Progress]


@pytest.fixture(scope="module")
def made(splits: Splits, model: str, shop_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder, reports = tmp_path_factory.mktemp("made"), []  # type: ignore[var-annotated]
    bundle = train_bundle(
        splits, SHOP, Semantics(), STILL, folder / "b", folder / "c", reports.append,
        start_from=shop_bundle.path, language_model=model,
    )  # fmt: skip
    return Made(bundle, folder / "c", reports)


def test_the_bundle_is_the_plain_backbone(made: Made) -> None:
    parts = {name.split(".")[0] for name in load_file(made.bundle.path / WEIGHTS)}
    assert parts == {"embedding", "backbone", "bias", "serving"}
    rows = [{"user": 1, "colour": "red", "price": 3.0, "tags": "new"}, {}]
    assert len(Scorer.load(made.bundle.path).score(rows)) == 2


def test_the_lineage_names_the_language_model_and_the_template(made: Made, shop_bundle: Bundle) -> None:
    lineage = made.bundle.manifest["lineage"]
    assert lineage["alignment"]["language_model"] == "tiny"  # type: ignore[index]
    assert len(lineage["alignment"]["language_model_digest"]) == 64  # type: ignore[index]
    template = lineage["alignment"]["template"]  # type: ignore[index]
    assert template.startswith("This is a row, identifier of the customer is {user}, colour of the product is {colour}")
    assert lineage["start_from"] == shop_bundle.version  # type: ignore[index]
    assert shop_bundle.manifest["lineage"]["alignment"] is None  # type: ignore[index]
    assert made.bundle.metrics["alignment"]["rows"] == 250  # type: ignore[index]


def test_training_begins_with_what_was_aligned(splits: Splits, model: str, made: Made, shop_bundle: Bundle) -> None:
    start = WarmStart.load(shop_bundle.path, SHOP, STILL)
    aligned = align(Prepared.read(splits, SHOP, parent=start.encoder), STILL, model, made.work, silent, start=start)
    found = load_file(made.bundle.path / WEIGHTS)
    for name in ("embedding.table", "backbone.dnn.layers.0.weight"):
        torch.testing.assert_close(found[name], aligned.start.weights[name], rtol=0, atol=1e-6)
        assert not torch.allclose(found[name], start.weights[name], rtol=0, atol=1e-6)


def test_the_bar_only_rises(made: Made) -> None:
    done = [report.done for report in made.reports if report.stage != "exporting"]
    assert done == sorted(done)
    assert done[-1] > 0.8


def test_what_cannot_be_aligned_is_said(splits: Splits, model: str, tmp_path: Path) -> None:
    data = Prepared.read(splits, SHOP)
    fast = CTRL.model_copy(update={"ctrl": CTRL.ctrl.model_copy(update={"learning_rate": 1.0, "first_rate": 1.0})})
    aligned = align(data, CTRL, model, tmp_path, silent)
    kept = next(tmp_path.glob("aligned-*"))
    kept.write_bytes(kept.read_bytes()[:40])
    with pytest.raises(ArtifactError, match="delete it to align anew"):
        align(data, CTRL, model, tmp_path, silent)
    assert aligned.start.weights
    other = Prepared(Splits(splits.valid, splits.valid, splits.test, ""), data.encoder, data.train, data.valid)
    with pytest.raises(DataError, match="120 rows have sentences, but 250 are encoded"):
        align(other, fast, model, tmp_path, silent)
    with pytest.raises(OptionError, match=r"'ctrl': .*subspaces: 3 does not divide the width 8"):
        TrainOptions.parse({"ctrl": {"width": 8, "subspaces": 3}})


def test_a_schema_of_ids_has_nothing_to_tell(splits: Splits, model: str, tmp_path: Path) -> None:
    ids = Schema(name="ids", label="click", fields=(Field(name="user", textual=False),))
    with pytest.raises(SchemaError, match="no field of schema 'ids' can be told"):
        align(Prepared.read(splits, ids), CTRL, model, tmp_path, silent)
