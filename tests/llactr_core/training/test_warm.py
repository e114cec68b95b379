import multiprocessing
import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file
from shop import QUICK, SHOP, shop_rows, shop_table

from llactr_core.bundle import Bundle
from llactr_core.data.encoding import Encoder
from llactr_core.data.splits import Splits, open_dataset
from llactr_core.errors import BundleError, OptionError
from llactr_core.progress import Progress, silent
from llactr_core.scorer import Scorer
from llactr_core.semantics.semantics import Semantics
from llactr_core.training.pipeline import train_bundle

SHORT = QUICK.model_copy(update={"epochs": 1})


def kill_at_exporting(progress: Progress) -> None:
    if progress.step:
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture(scope="module")
def newer(tmp_path_factory: pytest.TempPathFactory) -> Splits:
    """The shop with a colour and with users that nobody has seen."""
    folder = tmp_path_factory.mktemp("newer")
    for name, count, seed in (("train", 600, 11), ("valid", 300, 12), ("test", 300, 13)):
        rows = shop_rows(count, seed)
        users = rows["user"].to_numpy() + 30
        colours = ["violet" if i % 5 == 0 else c for i, c in enumerate(rows["colour"].to_pylist())]
        rows = rows.set_column(0, "user", pa.array(users)).set_column(1, "colour", pa.array(colours))
        pq.write_table(rows, folder / f"{name}.parquet")
    return open_dataset(folder, "click")


def test_on_the_same_data_it_begins_where_its_parent_ended(shop: Splits, shop_bundle: Bundle, tmp_path: Path) -> None:
    made = train_bundle(
        shop, SHOP, Semantics(shop_table()), SHORT, tmp_path / "b", tmp_path / "c", silent, start_from=shop_bundle.path
    )
    evaluations = made.metrics["training"]["evaluations"]
    assert evaluations[0] == shop_bundle.metrics["valid"]  # type: ignore[index]
    assert len(evaluations) == 2  # type: ignore[arg-type]
    assert made.metrics["valid"]["auc"] >= shop_bundle.metrics["valid"]["auc"]
    assert made.manifest["lineage"]["start_from"] == shop_bundle.version  # type: ignore[index]
    assert shop_bundle.manifest["lineage"]["start_from"] is None  # type: ignore[index]


def test_added_values_begin_as_unseen_and_known_ones_as_they_were(
    newer: Splits, shop_bundle: Bundle, tmp_path: Path
) -> None:
    still = SHORT.model_copy(update={"learning_rate": 1e-12})
    made = train_bundle(
        newer, SHOP, Semantics(shop_table()), still, tmp_path / "b", tmp_path / "c", silent, start_from=shop_bundle.path
    )
    old, new = Encoder.load(SHOP, shop_bundle.path), Encoder.load(SHOP, made.path)
    before, after = (load_file(b.path / "weights.safetensors")["embedding.table"] for b in (shop_bundle, made))
    rows = [{"user": 3, "colour": "red", "price": 5, "tags": "eco"}, {"user": 80, "colour": "violet", "price": 5}]
    was, now = old.encode_rows(rows), new.encode_rows(rows)
    np.testing.assert_allclose(after[now.ids], before[was.ids], atol=1e-6)
    _, unseen = old.flags(was)
    assert unseen[1, :2].all()
    assert not new.flags(now)[1].any()
    assert new.size > old.size
    assert Scorer.load(made.path).score_detailed(rows)[1][1].unseen == ()


def test_killed_it_goes_on_to_the_same_bundle(newer: Splits, shop_bundle: Bundle, tmp_path: Path) -> None:
    longer = QUICK.model_copy(update={"evaluations": 2})
    arguments = (newer, SHOP, Semantics(shop_table()), longer)
    start = {"start_from": shop_bundle.path}
    whole = train_bundle(*arguments, tmp_path / "whole", tmp_path / "c1", silent, start_from=shop_bundle.path)
    child = multiprocessing.get_context("fork").Process(
        target=train_bundle, args=(*arguments, tmp_path / "cut", tmp_path / "c2", kill_at_exporting), kwargs=start
    )
    child.start()
    child.join(60)
    assert child.exitcode == -signal.SIGKILL
    resumed = train_bundle(*arguments, tmp_path / "cut", tmp_path / "c2", silent, start_from=shop_bundle.path)
    assert resumed.version == whole.version
    cold = train_bundle(*arguments, tmp_path / "cold", tmp_path / "c2", silent)
    assert cold.version != whole.version


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"width": 8}, "width 4"),
        ({"backbone": "fm", "backbone_options": {}}, "backbone 'deepfm'"),
        ({"backbone_options": {"hidden": [8]}}, "backbone_options"),
    ],
    ids=["width", "backbone", "backbone_options"],
)
def test_what_has_to_agree_is_named(
    change: dict[str, object], said: str, shop: Splits, shop_bundle: Bundle, tmp_path: Path
) -> None:
    options = SHORT.model_copy(update=change)
    with pytest.raises(OptionError, match=said):
        train_bundle(
            shop,
            SHOP,
            Semantics(shop_table()),
            options,
            tmp_path / "b",
            tmp_path / "c",
            silent,
            start_from=shop_bundle.path,
        )


def test_other_fields_and_no_bundle_are_refused(shop: Splits, shop_bundle: Bundle, tmp_path: Path) -> None:
    fewer = SHOP.model_copy(update={"fields": SHOP.fields[:3]})
    table = replace(shop_table(), fields=fewer.names, vectors=shop_table().vectors[:3])
    with pytest.raises(OptionError, match="has others"):
        train_bundle(
            shop, fewer, Semantics(table), SHORT, tmp_path / "b", tmp_path / "c", silent, start_from=shop_bundle.path
        )
    with pytest.raises(BundleError, match="is no bundle"):
        train_bundle(shop, SHOP, Semantics(table), SHORT, tmp_path / "b", tmp_path / "c", silent, start_from=tmp_path)


@pytest.mark.parametrize("enhancer", ["none", "llactr"])
def test_another_field_table_or_enhancer_can_be_put_on(
    enhancer: str, shop: Splits, shop_bundle: Bundle, tmp_path: Path
) -> None:
    options = SHORT.model_copy(update={"enhancer": enhancer})
    wide = replace(shop_table(7), vectors=np.ones((4, 30), np.float32), model="another")
    made = train_bundle(
        shop, SHOP, Semantics(wide), options, tmp_path / "b", tmp_path / "c", silent, start_from=shop_bundle.path
    )
    assert made.metrics["valid"]["auc"] > 0.6
    Scorer.load(made.path)
