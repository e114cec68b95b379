"""What a proof works on is checked and cut before a language model reads it."""

from pathlib import Path

import numpy as np
import optuna
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from films import FILM_SCHEMA, write_films
from takeaway import takeaway

from llactr_core.data.labels import read_labels
from llactr_core.data.splits import Splits, open_dataset
from llactr_core.errors import DataError, LlactrError, OptionError
from llactr_core.proof import rows
from llactr_core.proof.arms import Read
from llactr_core.proof.options import ProveOptions
from llactr_core.proof.rows import Asked, few_enough, share_of, user_column
from llactr_core.proof.work import Place, prove
from llactr_core.schema import Field, Schema
from llactr_core.semantics.weights import DEFAULT_MODEL

IDS = Schema(name="ids", label="click", fields=(Field(name="user", textual=False), Field(name="film", textual=False)))


def unread(_splits: Splits) -> Read:
    pytest.fail("the language model was asked before the rows were checked")


def relabelled(folder: Path, part: str, label: int) -> Splits:
    """The films with one label in a part."""
    table = pq.read_table(write_films(folder) / f"{part}.parquet")
    place = table.schema.get_field_index("click")
    pq.write_table(table.set_column(place, "click", pa.array([label] * len(table))), folder / f"{part}.parquet")
    return open_dataset(folder, "click")


@pytest.mark.parametrize(("part", "final"), [("train", False), ("valid", False), ("test", True)])
def test_a_part_of_one_class_is_refused_before_anything_is_read(tmp_path: Path, part: str, final: bool) -> None:
    splits = relabelled(tmp_path, part, 1)
    place = Place(tmp_path / "out", optuna.storages.InMemoryStorage())
    with pytest.raises(DataError, match="both 0 and 1 have to occur"):
        prove(splits, FILM_SCHEMA, ProveOptions(final=final), unread, place, {"command": ""})


def test_a_test_part_that_is_not_judged_is_not_looked_at(tmp_path: Path) -> None:
    splits = relabelled(tmp_path, "test", 1)
    assert Asked.of(splits, FILM_SCHEMA, ProveOptions()).splits is splits


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"methods": ("larr",)}, "marks none"),
        ({"cut": "item-cold", "item": "user_of_one"}, "with cut 'item-cold': .* there are no rows"),
        ({"cut": "learning-curve", "user": "user_of_one"}, "with cut 'learning-curve'"),
    ],
    ids=["no scene", "one item", "one user"],
)
def test_what_the_dataset_cannot_give_is_refused(tmp_path: Path, given: dict[str, object], said: str) -> None:
    write_films(tmp_path)
    for part in ("train", "valid", "test"):
        table = pq.read_table(tmp_path / f"{part}.parquet")
        pq.write_table(table.append_column("user_of_one", pa.array(["ann"] * len(table))), tmp_path / f"{part}.parquet")
    with pytest.raises(LlactrError, match=said):
        Asked.of(open_dataset(tmp_path, "click"), FILM_SCHEMA, ProveOptions.parse(given))


def test_a_field_without_a_column_is_refused(tmp_path: Path) -> None:
    schema = Schema(name="films", label="click", fields=(Field(name="film"), Field(name="colour")))
    with pytest.raises(DataError, match="'colour'"):
        Asked.of(open_dataset(write_films(tmp_path), "click"), schema, ProveOptions())


def test_ctrl_needs_a_field_that_can_be_told(tmp_path: Path) -> None:
    options = ProveOptions(methods=("ctrl",))
    with pytest.raises(LlactrError, match="can be told in a sentence"):
        Asked.of(open_dataset(write_films(tmp_path), "click"), IDS, options)


def test_the_column_of_users_is_what_intervals_draw_from(tmp_path: Path) -> None:
    splits = open_dataset(write_films(tmp_path), "click")
    assert Asked.of(splits, FILM_SCHEMA, ProveOptions(user="user")).schema.group == "user"
    assert Asked.of(splits, FILM_SCHEMA, ProveOptions()).schema.group is None


def test_a_field_of_the_users_side_does_not_name_users(tmp_path: Path) -> None:
    """The age of a person is on the user's side and no person."""
    splits = open_dataset(write_films(tmp_path), "click")
    schema = Schema(name="films", label="click", fields=(Field(name="moods", side="user"), Field(name="film")))
    assert user_column(splits, schema, ProveOptions()) is None


def write_clicks(folder: Path, share: float) -> Splits:
    random = np.random.default_rng(3)
    for part, count in (("train", 100_000), ("valid", 40_000), ("test", 40_000)):
        columns = {"user": ["ann"] * count, "film": random.integers(0, 9, count), "click": random.random(count) < share}
        pq.write_table(pa.table(columns), folder / f"{part}.parquet")
    return open_dataset(folder, "click")


def test_of_one_user_rows_are_kept_and_of_rare_clicks_enough(tmp_path: Path) -> None:
    splits = write_clicks(tmp_path, 0.002)
    few = few_enough(splits, "click", "user", final=False)
    assert len(read_labels(few.train, "click")) == pytest.approx(60_000, rel=0.05)
    assert "rows kept" in few.how
    least = share_of(splits, "click", "user", 1, final=True)
    for part in (least.train, least.valid, least.test):
        labels = read_labels(part, "click")
        assert len(labels) < 40_000
        assert labels.sum() >= 20


def one_user(folder: Path) -> tuple[Splits, Schema]:
    """A log with scenes whose train rows are all of one user."""
    _, schema = takeaway(folder, 2000)
    file = folder / "train.parquet"
    table = pq.read_table(file)
    for name in ("user_id", "age_group", "home"):
        place = table.schema.get_field_index(name)
        table = table.set_column(place, name, pa.array(["one"] * len(table)))
    pq.write_table(table, file)
    return open_dataset(folder, "click"), schema


@pytest.mark.parametrize("quick", [False, True])
def test_what_larr_lacks_is_refused_before_anything_is_read_and_can_be_left_out(tmp_path: Path, quick: bool) -> None:
    splits, schema = one_user(tmp_path)
    place = Place(tmp_path / "out", optuna.storages.InMemoryStorage())
    asked: dict[str, object] = {"methods": ("larr",), "quick": quick}
    with pytest.raises(DataError, match=r"pairs of the kind user_user, .* set larr\.user_user"):
        prove(splits, schema, ProveOptions.parse(asked), unread, place, {"command": ""})
    for own in ({"user_user": 0}, {"pretrain_epochs": 0, "contrast_epochs": 0}):
        assert Asked.of(splits, schema, ProveOptions.parse({**asked, "larr": own})).user == "user_id"


def test_a_scene_that_train_never_has_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    splits, schema = takeaway(tmp_path, 2000)
    rare = [field.model_copy(update={"min_count": 10_000}) if field.scene else field for field in schema.fields]
    with pytest.raises(OptionError, match="train has no value of it"):
        Asked.of(splits, schema.model_copy(update={"fields": tuple(rare)}), ProveOptions(methods=("larr",)))


def test_the_rows_that_quick_leaves_are_those_that_are_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All rows have pairs enough, the few that are kept have none."""
    splits, schema = takeaway(tmp_path / "log", 2000)
    (tmp_path / "few").mkdir()
    few, _ = one_user(tmp_path / "few")
    monkeypatch.setattr(rows, "few_enough", lambda *_a, **_k: few)
    with pytest.raises(DataError, match="pairs of the kind user_user"):
        Asked.of(splits, schema, ProveOptions(quick=True, methods=("larr",)))


@pytest.mark.parametrize(
    ("model", "own", "said"), [("nowhere", {}, "nowhere"), (DEFAULT_MODEL, {"device": "cuda"}, "finds no GPU")]
)
def test_what_ctrl_needs_is_looked_for_before_anything_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str, own: dict[str, object], said: str
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    splits = open_dataset(write_films(tmp_path), "click")
    place = Place(tmp_path / "out", optuna.storages.InMemoryStorage())
    options = ProveOptions.parse({"methods": ("ctrl",), "ctrl": own})
    with pytest.raises(LlactrError, match=said):
        prove(splits, FILM_SCHEMA, options, unread, place, {"command": ""}, model)
