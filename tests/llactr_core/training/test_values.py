"""Value semantics: what a value's text says helps where the value is rare or new, and serving does not know of it."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from films import COLD, FILM_SCHEMA, FILMS, film_names, value_table, write_films
from safetensors.numpy import load_file

from llactr_core.bundle import FIELD_TABLE, TABLE, VALUES, WEIGHTS, Bundle
from llactr_core.data.splits import Splits, open_dataset
from llactr_core.enhancers.llactr import Llactr
from llactr_core.errors import OptionError, SchemaError
from llactr_core.metrics.ranking import auc
from llactr_core.progress import Progress, silent
from llactr_core.scorer import Scorer
from llactr_core.semantics.semantics import Semantics
from llactr_core.semantics.values.projection import ValueProjection
from llactr_core.semantics.values.table import ValueTable
from llactr_core.training.build import build_model
from llactr_core.training.data import Batch
from llactr_core.training.loop import logits_of, loss_of
from llactr_core.training.options import TrainOptions
from llactr_core.training.pipeline import train_bundle
from llactr_core.training.prepared import Prepared
from llactr_core.training.run import train_model

OPTIONS = TrainOptions.parse(
    {
        "backbone": "deepfm",
        "width": 4,
        "batch_size": 256,
        "epochs": 3,
        "learning_rate": 0.01,
        "held_out": 0,
        "backbone_options": {"hidden": [16]},
        "llactr": {"fre_weight": 0, "fie_weight": 0, "value_dims": 8},
    }
)


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Splits:
    return open_dataset(write_films(tmp_path_factory.mktemp("films")), "click")


@pytest.fixture(scope="module")
def bundle(films: Splits, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("bundle")
    semantics = Semantics(values=value_table())
    return train_bundle(films, FILM_SCHEMA, semantics, OPTIONS, folder / "b", folder / "c", silent, read_test=True)


def test_films_that_train_never_had_are_told_apart_by_their_texts(films: Splits, bundle: Bundle) -> None:
    found = {}
    for name, semantics in {"none": Semantics(), "shuffled": Semantics(values=value_table(1))}.items():
        options = OPTIONS.model_copy(update={"enhancer": "none"}) if name == "none" else OPTIONS
        data = Prepared.read(films, FILM_SCHEMA, semantics.values)
        trained = train_model(data, semantics, options)
        test = data.test()
        found[name] = auc(test.labels.numpy(), logits_of(trained.model, test).numpy())
    assert bundle.metrics["test"]["auc"] > 0.65
    assert max(found.values()) < 0.56, found


def test_the_folded_table_is_what_training_looked_up(films: Splits) -> None:
    semantics = Semantics(values=value_table())
    data = Prepared.read(films, FILM_SCHEMA, semantics.values)
    model = train_model(data, semantics, OPTIONS).model
    assert isinstance(model.enhancer, Llactr)
    rows = torch.unique(data.train.ids)
    offsets = model.enhancer.offsets(rows)
    assert offsets is not None
    assert float(offsets.detach().abs().max()) > 0.01
    torch.testing.assert_close(model.folded()[rows], model.embedding.table[rows] + offsets)


def test_the_texts_learn_and_their_vectors_stay(films: Splits) -> None:
    semantics = Semantics(values=value_table())
    data = Prepared.read(films, FILM_SCHEMA, semantics.values)
    model = build_model(data.encoder, semantics, OPTIONS)
    assert isinstance(model.enhancer, Llactr)
    values = model.enhancer.values
    assert values is not None
    torch.nn.init.normal_(values.projections[0])  # at zero the gate has no slope
    torch.nn.init.normal_(values.projections[1])
    rows, places = torch.unique(data.train.ids[:500], return_inverse=True)
    own = model.embedding.table.detach()[rows].requires_grad_()
    weights = data.train.weights
    assert weights is not None
    loss_of(model, Batch(places, weights[:500], data.train.labels[:500]), rows, own, OPTIONS)[0].backward()
    for parameter in (*values.projections, values.levels):
        assert parameter.grad is not None
        assert (parameter.grad != 0).all()
    assert own.grad is not None
    assert not any(buffer.requires_grad for buffer in values.buffers())


def test_the_scorer_serves_the_folded_rows(films: Splits, bundle: Bundle) -> None:
    scorer = Scorer.load(bundle.path)
    semantics = Semantics(values=value_table())
    data = Prepared.read(films, FILM_SCHEMA, semantics.values)
    model = train_model(data, semantics, OPTIONS).model
    rows = films.test.path
    scores = scorer.score(pq.read_table(rows).drop_columns(["click"]))
    torch.testing.assert_close(
        torch.from_numpy(np.asarray(scores)).double(),
        torch.sigmoid(logits_of(model, data.test())).double(),
        atol=1e-6,
        rtol=0,
    )


def test_the_row_of_a_new_value_is_the_one_it_has_where_its_text_was_known(bundle: Bundle) -> None:
    projection = ValueProjection.load(bundle.path / VALUES)
    table = load_file(bundle.path / WEIGHTS)[TABLE]
    scorer = Scorer.load(bundle.path)
    ids = scorer.encoder.ids_of("film", film_names())
    rows = projection.rows_of("film", value_table().of("film")[1])
    cold = scorer.encoder.counts[ids] == 0
    assert cold.sum() == COLD
    np.testing.assert_allclose(rows[cold], table[ids[cold]], atol=1e-6)
    assert np.abs(rows[~cold] - table[ids[~cold]]).max() > 0.1, "known films have rows of their own"
    with pytest.raises(OptionError, match="'user' has no value semantics"):
        projection.rows_of("user", rows)
    with pytest.raises(OptionError, match=r"\[n, 12\]"):
        projection.rows_of("film", rows)


def test_a_killed_run_goes_on_to_the_same_bundle(films: Splits, bundle: Bundle, tmp_path: Path) -> None:
    class Cut(Exception):
        pass

    def cut(progress: Progress) -> None:
        if "epoch 3" in progress.stage:
            raise Cut

    arguments = (films, FILM_SCHEMA, Semantics(values=value_table()), OPTIONS, tmp_path / "b", tmp_path / "c")
    with pytest.raises(Cut):
        train_bundle(*arguments, cut)
    assert train_bundle(*arguments, silent).version == bundle.version


def test_a_warm_start_begins_where_the_bundle_ended(films: Splits, bundle: Bundle, tmp_path: Path) -> None:
    options = OPTIONS.model_copy(update={"epochs": 1, "learning_rate": 1e-9})
    semantics = Semantics(values=value_table())
    made = train_bundle(
        films, FILM_SCHEMA, semantics, options, tmp_path / "b", tmp_path / "c", silent, start_from=bundle.path
    )
    assert made.metrics["valid"]["auc"] == pytest.approx(bundle.metrics["valid"]["auc"], abs=1e-4)
    assert made.metrics["valid"]["logloss"] == pytest.approx(bundle.metrics["valid"]["logloss"], abs=1e-4)


def test_a_bundle_names_its_value_table_and_needs_no_field_table(bundle: Bundle) -> None:
    lineage = bundle.manifest["lineage"]
    assert isinstance(lineage, dict)
    assert lineage["value_table"] == value_table().version
    assert lineage["field_table"] is None
    assert not (bundle.path / FIELD_TABLE).exists()


def test_values_of_a_field_that_the_schema_lacks_are_refused(films: Splits) -> None:
    table = ValueTable(("brand",), (("Acme", "Bolt"),), np.eye(2, dtype=np.float32), "m", "r")
    with pytest.raises(SchemaError, match="brand"):
        train_model(Prepared.read(films, FILM_SCHEMA, table), Semantics(values=table), OPTIONS)


def test_values_without_any_difference_add_nothing(films: Splits) -> None:
    same = ValueTable(("film",), (tuple(film_names()),), np.ones((FILMS, 3), np.float32), "m", "r")
    model = build_model(Prepared.read(films, FILM_SCHEMA, same).encoder, Semantics(values=same), OPTIONS)
    assert model.enhancer.offsets(torch.arange(5)) is None
