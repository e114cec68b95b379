"""Explanations of real bundles: they sum, they are exact where they say so, and they are quick."""

import itertools
import json
import math
import shutil
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from shop import QUICK, SHOP, shop_rows

from llactr_core.bundle import EXPLANATION, Bundle, write_bundle
from llactr_core.data.splits import Splits, open_dataset
from llactr_core.errors import BundleError, ConflictError
from llactr_core.explainer import Explainer, Explanation, sampled_orders
from llactr_core.progress import silent
from llactr_core.schema import Schema
from llactr_core.scorer import Scorer
from llactr_core.semantics.semantics import Semantics
from llactr_core.semantics.table import FieldTable
from llactr_core.training.options import TrainOptions
from llactr_core.training.pipeline import train_bundle

ROWS = [*shop_rows(4, 11).to_pylist(), {"user": None, "colour": "mauve", "price": "a lot"}, {}]
K = len(SHOP.fields)


def total(found: Explanation) -> np.ndarray:
    pairs = found.fm.sum((1, 2)) + found.fie.sum((1, 2))
    return found.bias + found.deep_baseline + found.first.sum(1) + found.deep.sum(1) + pairs


@pytest.fixture(scope="module")
def scorer(shop_bundle: Bundle) -> Scorer:
    return Scorer.load(shop_bundle.path)


@pytest.fixture(scope="module")
def wukong(shop: Splits, tmp_path_factory: pytest.TempPathFactory) -> Scorer:
    folder = tmp_path_factory.mktemp("wukong")
    small = {"layers": 1, "fmb": 2, "lcb": 2, "rank": 2, "fmb_hidden": [4], "hidden": [8]}
    options = QUICK.model_copy(update={"backbone": "wukong", "backbone_options": small, "enhancer": "none"})
    return Scorer.load(train_bundle(shop, SHOP, Semantics(), options, folder / "b", folder / "c", silent).path)


def test_the_parts_sum_to_the_logit_that_is_scored(scorer: Scorer, wukong: Scorer) -> None:
    for one in (scorer, wukong):
        found = Explainer.load(one).explain(one, ROWS)
        np.testing.assert_allclose(total(found), found.logits, rtol=0, atol=1e-9)
        np.testing.assert_allclose(found.bias, found.bias[0], rtol=0, atol=1e-5)  # what rounding adds is no more
        np.testing.assert_allclose(found.shares.sum(1) + found.bias + found.deep_baseline, found.logits, atol=1e-9)
        np.testing.assert_allclose(found.probabilities, one.score(ROWS), rtol=0, atol=1e-6)
        np.testing.assert_allclose(found.raw_probabilities, one.score(ROWS, raw=True), rtol=0, atol=1e-6)
        assert np.ptp(found.logits) > 0.01


def test_what_a_value_was_is_told(scorer: Scorer) -> None:
    found = Explainer.load(scorer).explain(scorer, ROWS)
    assert found.missing[4].tolist() == [True, False, False, True]
    assert found.unseen[4].tolist() == [False, True, True, False]
    assert found.missing[5].all()
    assert not found.missing[0][0]


def test_an_answer_repeats_and_does_not_depend_on_the_other_rows(scorer: Scorer) -> None:
    explainer = Explainer.load(scorer)
    whole = explainer.explain(scorer, ROWS)
    again = Explainer.load(scorer).explain(scorer, ROWS)
    assert np.array_equal(whole.deep, again.deep)
    for row in range(len(ROWS)):
        alone = explainer.explain(scorer, [ROWS[row]])
        np.testing.assert_allclose(alone.deep[0], whole.deep[row], rtol=0, atol=1e-6)
    empty = explainer.explain(scorer, [])
    assert empty.logits.shape == (0,)
    assert empty.deep.shape == (0, K)


def deep_values(explainer: Explainer, scorer: Scorer, row: dict[str, object]) -> dict[frozenset[int], float]:
    """The deep part of the row for every set of fields that take part; the others are unseen."""
    never = {field.column: "\u0001 never seen" for field in SHOP.fields}
    values = {}
    for size in range(K + 1):
        for chosen in itertools.combinations(range(K), size):
            mixed = {**never, **{SHOP.fields[k].column: row.get(SHOP.fields[k].column) for k in chosen}}
            found = explainer.explain(scorer, [mixed])
            values[frozenset(chosen)] = found.deep_baseline + found.deep[0].sum()
    return values


def test_the_deep_part_is_shared_out_by_shapley_values(scorer: Scorer, wukong: Scorer) -> None:
    """Against the definition, by all subsets: with four fields, 64 orders are close to all 24."""
    for one in (scorer, wukong):
        explainer = Explainer.load(one)
        value = deep_values(explainer, one, ROWS[0])
        exact = [
            sum(
                math.factorial(len(s))
                * math.factorial(K - len(s) - 1)
                / math.factorial(K)
                * (value[s | {k}] - value[s])
                for s in value
                if k not in s
            )
            for k in range(K)
        ]
        found = explainer.explain(one, [ROWS[0]])
        assert found.deep_error is not None
        spread = np.ptp([*value.values()])
        assert spread > 0.01
        np.testing.assert_allclose(found.deep[0], exact, rtol=0, atol=0.1 * spread)
        assert (np.abs(found.deep[0] - exact) <= 5 * found.deep_error[0] + 1e-6).all()


def test_an_unseen_value_adds_nothing_to_the_deep_part(scorer: Scorer) -> None:
    found = Explainer.load(scorer).explain(scorer, ROWS)
    assert (found.deep[4][found.unseen[4]] == 0).all()
    assert np.abs(found.deep[0]).max() > 0


def test_orders_come_with_their_reverse() -> None:
    for fields, orders in ((1, 64), (4, 64), (60, 8), (256, 2), (400, 2)):
        found = sampled_orders(fields)
        assert found.shape == (orders, fields)
        assert np.array_equal(found[::2], found[1::2, ::-1])
        assert np.array_equal(np.sort(found, axis=1), np.tile(np.arange(fields), (orders, 1)))


def test_a_bundle_of_format_1_has_to_be_trained_again(shop_bundle: Bundle, tmp_path: Path) -> None:
    whole = json.loads((shop_bundle.path / "manifest.json").read_text())
    manifest = {key: whole[key] for key in ("schema", "options", "lineage")}

    def without(folder: Path) -> None:
        for name in whole["files"]:
            if name != EXPLANATION:
                (folder / name).write_bytes((shop_bundle.path / name).read_bytes())

    old = Scorer.load(write_bundle(tmp_path / "old", manifest, whole["metrics"], without).path)
    with pytest.raises(ConflictError, match="train it again"):
        Explainer.load(old)


def test_a_damaged_explanation_is_refused(shop_bundle: Bundle, tmp_path: Path) -> None:
    whole = shop_bundle.manifest

    def damaged(folder: Path) -> None:
        for name in whole["files"]:
            content = (shop_bundle.path / name).read_bytes()
            (folder / name).write_bytes(b"no graph" if name == EXPLANATION else content)

    manifest = {key: whole[key] for key in ("schema", "options", "lineage")}
    loaded = Scorer.load(write_bundle(tmp_path / "damaged", manifest, whole["metrics"], damaged).path)
    with pytest.raises(BundleError, match="restore or retrain"):
        Explainer.load(loaded)


def test_a_loaded_bundle_is_explained_though_its_folder_is_gone(shop_bundle: Bundle, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(shop_bundle.path, tmp_path / "copy"))
    loaded = Scorer.load(copy)
    shutil.rmtree(copy)
    assert len(Explainer.load(loaded).explain(loaded, ROWS).logits) == len(ROWS)


@pytest.mark.parametrize("backbone", ["deepfm", "wukong"])
def test_one_row_of_60_fields_takes_less_than_50_ms(backbone: str, tmp_path: Path) -> None:
    columns = {f"f{k}": [f"v{(row * (k + 1)) % 7}" for row in range(64)] for k in range(60)}
    data = pa.table({**columns, "y": [row % 2 for row in range(64)]})
    for name in ("train", "valid", "test"):
        pq.write_table(data, tmp_path / f"{name}.parquet")
    schema = Schema.parse({"name": "wide", "label": "y", "fields": [{"name": name} for name in columns]})
    table = FieldTable(schema.names, np.eye(60, 8, dtype=np.float32) + 1, "random", "r", {})
    options = TrainOptions.parse({"backbone": backbone, "enhancer": "llactr", "epochs": 1, "batch_size": 64})
    splits = open_dataset(tmp_path, "y")
    scorer = Scorer.load(
        train_bundle(splits, schema, Semantics(table), options, tmp_path / "b", tmp_path / "c", silent).path
    )
    explainer = Explainer.load(scorer)
    rows = data.slice(3, 1).to_pylist()
    taken = []
    for _ in range(10):
        began = time.perf_counter()
        found = explainer.explain(scorer, rows)
        taken.append(time.perf_counter() - began)
    assert min(taken) < 0.05  # the machine does other things as well
    assert explainer.permutations == 8
    np.testing.assert_allclose(total(found), scorer.logits(rows), rtol=0, atol=1e-5)
