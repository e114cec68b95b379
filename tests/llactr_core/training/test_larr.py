"""LARR: scenes that train never had are understood by their texts, and are served without the language model."""

import json
import shutil
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.numpy import load_file
from takeaway import LARR, scene_table, takeaway
from weathers import WEATHERS, weather_table, write_weathers

from llactr_core.bundle import SCENE_VALUES, SCENES, WEIGHTS, Bundle
from llactr_core.data.splits import Splits
from llactr_core.data.vocabulary import FIRST_VALUE, UNSEEN
from llactr_core.enhancers.larr.larr import Larr
from llactr_core.enhancers.larr.scenes import Scenes
from llactr_core.errors import BundleError, OptionError, SchemaError
from llactr_core.explainer import Explainer
from llactr_core.metrics.ranking import auc
from llactr_core.overlay import Overlay, OverlayRow
from llactr_core.progress import Progress, silent
from llactr_core.proof.controls import changed_values
from llactr_core.schema import Field, Kind, Schema
from llactr_core.scorer import Scorer
from llactr_core.semantics.semantics import Semantics
from llactr_core.semantics.values.projection import ValueProjection
from llactr_core.semantics.values.table import ValueTable
from llactr_core.training.build import build_model
from llactr_core.training.checkpoint import Checkpoint
from llactr_core.training.data import Batch
from llactr_core.training.loop import logits_of, loss_of
from llactr_core.training.options import TrainOptions
from llactr_core.training.pipeline import train_bundle
from llactr_core.training.prepared import Prepared
from llactr_core.training.run import train_model

EARLY = Semantics(values=scene_table(with_late=False))
ALL = Semantics(values=scene_table())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("takeaway")


@pytest.fixture(scope="module")
def log(folder: Path) -> tuple[Splits, Schema]:
    return takeaway(folder)


@pytest.fixture(scope="module")
def bundle(log: tuple[Splits, Schema], tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("bundle")
    return train_bundle(*log, EARLY, LARR, folder / "b", folder / "c", silent)


def test_weathers_that_train_never_had_are_understood_by_their_vectors(tmp_path: Path) -> None:
    splits, true = write_weathers(tmp_path), Semantics(values=weather_table())
    found = {}
    for name, semantics in {"true": true, "shuffled": changed_values(true, "shuffled", 2)}.items():
        data = Prepared.read(splits, WEATHERS, semantics.values)
        test = data.test()
        found[name] = auc(test.labels.numpy(), logits_of(train_model(data, semantics, LARR).model, test).numpy())
    assert found["true"] > 0.7, found
    assert found["shuffled"] < 0.6, found


@pytest.mark.parametrize("backbone", ["fm", "deepfm"])
def test_a_row_of_a_hundred_costs_at_most_twice_the_plain_backbones(
    folder: Path, log: tuple[Splits, Schema], tmp_path: Path, backbone: str
) -> None:
    rows = pq.read_table(folder / "test.parquet", columns=list(log[1].columns)).slice(0, 100).to_pylist()
    body = json.dumps({"rows": rows}).encode()
    scorers = []
    for enhancer in ("none", "larr"):
        its = {"pretrain_epochs": 0, "contrast_epochs": 0}
        content = {"backbone": backbone, "enhancer": enhancer, "epochs": 1, "held_out": 0, "larr": its}
        options = TrainOptions.parse(content)
        made = train_bundle(*log, EARLY, options, tmp_path / enhancer, tmp_path / "c", silent)
        scorers.append(Scorer.load(made.path))

    def seconds(scorer: Scorer) -> float:
        began = time.process_time()
        for _ in range(20):
            found = scorer.reader.rows(body, 100)
            assert found is not None
            assert len(scorer.score(found.cells)) == 100
        return time.process_time() - began

    ratios = [seconds(scorers[1]) / seconds(scorers[0]) for _ in range(21)]
    assert float(np.median(ratios)) <= 2, ratios


def test_only_the_language_models_vectors_are_not_trained(log: tuple[Splits, Schema]) -> None:
    data = Prepared.read(*log, ALL.values)
    model = build_model(data.encoder, ALL, LARR)
    enhancer = model.enhancer
    assert isinstance(enhancer, Larr)
    before = enhancer.vectors.clone()
    rows = torch.arange(data.encoder.size)
    own = model.embedding.table.detach().clone().requires_grad_()
    batch = Batch(data.train.ids[:64].long(), None, data.train.labels[:64])
    loss, _ = loss_of(model, batch, rows, own, LARR)
    loss.backward()  # type: ignore[no-untyped-call]
    gradients = {name: p.grad for name, p in model.named_parameters() if name != "embedding.table"}
    assert [name for name, gradient in gradients.items() if gradient is None or not gradient.any()] == []
    assert own.grad is not None
    assert own.grad.any()
    assert not enhancer.vectors.requires_grad
    assert torch.equal(enhancer.vectors, before)


def test_the_alignment_moves_the_aggregate_and_not_what_clicks_have_taught(log: tuple[Splits, Schema]) -> None:
    data = Prepared.read(*log, ALL.values)
    enhancer = build_model(data.encoder, ALL, LARR).enhancer
    v = torch.randn(64, len(data.encoder.encoders) + 1, LARR.width, requires_grad=True)
    loss = enhancer.row_loss(v, data.train.ids[:64].long())
    assert loss is not None
    loss.backward()  # type: ignore[no-untyped-call]
    assert v.grad is not None
    assert v.grad[:, -1].any()
    assert not v.grad[:, :-1].any()


def test_an_interrupted_training_ends_in_the_same_weights(log: tuple[Splits, Schema], tmp_path: Path) -> None:
    class Killed(Exception):
        pass

    def kill(progress: Progress) -> None:
        if progress.done > 0.5:
            raise Killed

    data = Prepared.read(*log, EARLY.values)
    with pytest.raises(Killed):
        train_model(data, EARLY, LARR, Checkpoint(tmp_path, "key"), kill)
    again = train_model(data, EARLY, LARR, Checkpoint(tmp_path, "key")).model.state_dict()
    through = train_model(data, EARLY, LARR).model.state_dict()
    assert [name for name, value in through.items() if not torch.equal(value, again[name])] == []


def test_the_scorer_gives_the_trained_models_scores_and_explains_them(
    folder: Path, log: tuple[Splits, Schema], bundle: Bundle
) -> None:
    data = Prepared.read(*log, EARLY.values)
    expected = torch.sigmoid(logits_of(train_model(data, EARLY, LARR).model, data.test()).double()).numpy()
    scorer = Scorer.load(bundle.path)
    rows = pq.read_table(folder / "test.parquet")
    np.testing.assert_allclose(scorer.score(rows), expected, atol=1e-6)
    np.testing.assert_allclose(scorer.score(rows.slice(0, 5).to_pylist()), expected[:5], atol=1e-6)
    explained = Explainer.load(scorer).explain(scorer, rows.slice(0, 3))
    parts = explained.bias + explained.deep_baseline + explained.shares.sum(1)
    np.testing.assert_allclose(parts, explained.logits, atol=1e-6)
    np.testing.assert_allclose(explained.raw_probabilities, expected[:3], atol=1e-6)


def test_products_of_8_bits_read_the_aggregate_too(log: tuple[Splits, Schema], tmp_path: Path, bundle: Bundle) -> None:
    options = LARR.model_copy(update={"served_precision": "int8"})
    rounded = Scorer.load(train_bundle(*log, EARLY, options, tmp_path / "b", tmp_path / "c", silent).path)
    assert rounded.precision == "int8"
    exact = Scorer.load(bundle.path)
    row = {"weather": "sleet", "time_of_day": "lunch time"}
    rows = [row, {**row, "weather": "snow"}, {}]
    np.testing.assert_allclose(rounded.logits(rows), exact.logits(rows), atol=0.05)
    assert len(set(rounded.score(rows))) == 3


def test_an_unseen_scene_has_the_prior_and_a_vector_gives_it_the_row_of_its_like(bundle: Bundle) -> None:
    """The projection of the mean is the unseen id's row; that of a known value's vector is that value's row."""
    scorer = Scorer.load(bundle.path)
    table = load_file(bundle.path / WEIGHTS)[SCENES]
    projection = ValueProjection.load(bundle.path / SCENE_VALUES)
    scenes = Scenes.of(scorer.encoder, EARLY.values or scene_table())
    values, vectors = (EARLY.values or scene_table()).of("weather")
    first = int(np.searchsorted(scenes.field_of, scenes.names.index("weather")))
    mean = vectors.mean(0, keepdims=True)
    np.testing.assert_allclose(projection.rows_of("weather", mean)[0], table[first + UNSEEN], atol=1e-5)
    known = scorer.encoder.ids_of("weather", values) - scorer.encoder.offsets[scorer.schema.names.index("weather")]
    assert known.min() == FIRST_VALUE
    np.testing.assert_allclose(projection.rows_of("weather", vectors), table[first + known], atol=1e-4)
    row = {"weather": "a plague of frogs", "time_of_day": "lunch time"}
    assert scorer.score([row]) == scorer.score([{**row, "weather": "sleet"}])
    assert scorer.score([row]) != scorer.score([{**row, "weather": "snow"}])


def test_a_scene_of_an_overlay_is_scored_by_its_vector(bundle: Bundle) -> None:
    scorer = Scorer.load(bundle.path)
    vectors = dict(zip(*scene_table().of("weather"), strict=True))
    projection = ValueProjection.load(bundle.path / SCENE_VALUES)
    unseen = scorer.row(int(scorer.encoder.offsets[scorer.schema.names.index("weather")]) + UNSEEN)
    mean = projection.fields["weather"].mean
    rows = [
        OverlayRow("weather", name, unseen, projection.rows_of("weather", vector[None])[0])
        for name, vector in (("hail", vectors["freezing blizzard"]), ("nothing", mean))
    ]
    overlaid = scorer.with_overlay(Overlay.of(bundle.version, rows))
    asked = [{"weather": name, "category": "hot pot"} for name in ("hail", "nothing", "never heard of", "snow")]
    before, after = scorer.score(asked), overlaid.score(asked)
    assert before[0] == before[1] == before[2]
    assert after[0] != before[0]
    np.testing.assert_allclose(after[1:], before[1:], atol=1e-7)


def test_what_does_not_fit_is_refused(log: tuple[Splits, Schema]) -> None:
    data = Prepared.read(*log)
    with pytest.raises(OptionError, match="needs the vectors of the scene's values"):
        build_model(data.encoder, Semantics(), LARR)
    devices = ValueTable(("device",), (("iPhone",),), np.ones((1, 3), np.float32), "m", "r")
    with pytest.raises(SchemaError, match="lacks the scene's fields time_of_day, weekday, location, weather"):
        build_model(data.encoder, Semantics(values=devices), LARR)
    plain = Schema(name="s", label="click", fields=tuple(f.model_copy(update={"scene": False}) for f in log[1].fields))
    with pytest.raises(OptionError, match="marks none; set 'scene: true'"):
        build_model(replace(data, encoder=Prepared.read(log[0], plain).encoder).encoder, ALL, LARR)
    for wrong in ({"kind": Kind.NUMERIC}, {"kind": Kind.MULTI_VALUED}, {"source": "at", "part": "elapsed_days"}):
        with pytest.raises(ValueError, match="has one value in words"):
            Field.model_validate({"name": "x", "scene": True, **wrong})


def test_a_bundle_without_its_scene_rows_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    shutil.copytree(bundle.path, tmp_path / "b")
    (tmp_path / "b" / SCENE_VALUES).unlink()
    with pytest.raises(BundleError, match="lacks scenes"):
        Bundle.open(tmp_path / "b")
