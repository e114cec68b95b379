"""Fields that name one thing together, and training as if it were not known."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from films import FILM_SCHEMA, FILMS, value_table, write_films

from llactr_core.data.splits import Splits, open_dataset
from llactr_core.metrics.probability import log_loss
from llactr_core.metrics.ranking import auc
from llactr_core.schema import Field, Schema
from llactr_core.semantics.semantics import Semantics
from llactr_core.semantics.values.table import ValueTable
from llactr_core.training.data import TrainingBatches
from llactr_core.training.entities import entities
from llactr_core.training.loop import logits_of
from llactr_core.training.options import TrainOptions
from llactr_core.training.prepared import Prepared
from llactr_core.training.run import train_model

SCHEMA = Schema(
    name="films",
    label="click",
    fields=(Field(name="user"), Field(name="number"), Field(name="film"), Field(name="mood")),
)


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Splits:
    """Films with a number beside their name."""
    folder = write_films(tmp_path_factory.mktemp("films"))
    for name in ("train", "valid", "test"):
        rows = pq.read_table(folder / f"{name}.parquet")
        numbers = [int(film.as_py().split()[1]) for film in rows["film"]]
        rows = rows.append_column("number", pa.array(numbers)).append_column("mood", rows["moods"])
        pq.write_table(rows, folder / f"{name}.parquet")
    return open_dataset(folder, "click")


def test_a_number_and_a_name_that_go_together_are_one_thing(films: Splits) -> None:
    data = Prepared.read(films, SCHEMA)
    found = entities(data.encoder, data.train)
    assert [slots.tolist() for slots in found] == [[1, 2]], "users and moods go with every film"
    alone = Prepared.read(films, FILM_SCHEMA)
    assert entities(alone.encoder, alone.train) == []


def test_both_are_left_out_at_once_and_as_often_as_asked(films: Splits) -> None:
    data = Prepared.read(films, SCHEMA)
    encoder = data.encoder
    things = entities(encoder, data.train)
    batches = TrainingBatches(data.train, encoder.counts, encoder.unseen_ids, 4000, 0.0, 1, things, 0.3)
    (batch,) = batches.epoch(0)
    (again,) = batches.epoch(0)
    assert batch.own is not None
    assert again.own is not None
    assert torch.equal(batch.own, again.own)
    changed = (batch.own != batch.ids).numpy()
    assert not changed[:, [0, 3]].any()
    assert (changed[:, 1] == changed[:, 2]).all()
    assert 0.25 < changed[:, 1].mean() < 0.35
    unseen = encoder.unseen_ids[batch.ids.numpy()[changed]]
    assert np.array_equal(batch.own.numpy()[changed], unseen)
    (plain,) = TrainingBatches(data.train, encoder.counts, encoder.unseen_ids, 4000, 0.0, 1, things, 0.0).epoch(0)
    assert plain.own is None


def test_what_is_not_known_is_scored_by_rows_that_were_trained(films: Splits) -> None:
    data = Prepared.read(films, SCHEMA)
    test = data.test()
    found = {}
    for rate in (0.0, 0.2):
        options = TrainOptions.parse(
            {"backbone": "deepfm", "enhancer": "none", "batch_size": 256, "epochs": 4, "learning_rate": 0.02}
        ).model_copy(update={"held_out": 0.0, "cold_rate": rate, "backbone_options": {"hidden": [16]}})
        model = train_model(data, Semantics(), options).model
        found[rate] = log_loss(test.labels.numpy(), torch.sigmoid(logits_of(model, test)).numpy())
    assert found[0.2] < found[0.0], found


def test_a_text_speaks_for_a_thing_that_is_read_as_unknown(films: Splits) -> None:
    whole = value_table()
    table = ValueTable(("film",), (whole.values[0],), whole.vectors[:FILMS], "m", "r")
    data = Prepared.read(films, SCHEMA, table)
    options = TrainOptions.parse(
        {
            "backbone": "fm",
            "batch_size": 256,
            "epochs": 4,
            "learning_rate": 0.02,
            "held_out": 0,
            "cold_rate": 0.9,
            "llactr": {"fre_weight": 0, "fie_weight": 0, "value_dims": 12},
        }
    )
    model = train_model(data, Semantics(values=table), options).model
    test = data.test()
    assert auc(test.labels.numpy(), logits_of(model, test).numpy()) > 0.8
