"""What stages 1 and 2 learn from and by what they are judged, and what they refuse before a model is loaded."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from takeaway import takeaway
from tiny_model import save_tiny_model

from llactr_core.data.encoding import Encoder
from llactr_core.data.splits import open_dataset
from llactr_core.enhancers.larr.build import build_scene_table
from llactr_core.enhancers.larr.contrast import Contrast, negatives
from llactr_core.enhancers.larr.corpus import Corpus
from llactr_core.enhancers.larr.model import check_model
from llactr_core.enhancers.larr.options import LarrOptions
from llactr_core.enhancers.larr.pairs import draw_pairs
from llactr_core.enhancers.larr.pretrain import Pretraining
from llactr_core.enhancers.larr.read import texts_of
from llactr_core.enhancers.larr.reader import Reader
from llactr_core.enhancers.larr.split import check_texts, split
from llactr_core.enhancers.larr.texts import LarrTexts, LarrTuning, Pair, Thing
from llactr_core.enhancers.larr.tune import tune_reader
from llactr_core.errors import DataError, OptionError
from llactr_core.semantics.encoder import TextEncoder
from llactr_core.semantics.tuning.team import ALONE

OPTIONS = LarrOptions(pretrain_epochs=1, contrast_epochs=1, batch_size=4)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_tiny_model(tmp_path_factory.mktemp("models") / "tiny"))


@pytest.fixture
def unloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TextEncoder, "load", lambda *_a, **_k: pytest.fail("a language model was loaded"))


def pair(left: str, right: str) -> Pair:
    return Pair(f"<|x|> {left}", f"<|x|> {right}", left, right)


def pairs(count: int, kind: str) -> list[Pair]:
    return [pair(f"{kind} l{i}", f"{kind} r{i}") for i in range(count)]


def clicked(items: dict[str, dict[str, str]], users: dict[str, dict[str, str]], *clicks: tuple[str, str]) -> Corpus:
    def things(of: dict[str, dict[str, str]]) -> dict[str, Thing]:
        return {key: Thing(tuple(its.items())) for key, its in of.items()}

    return Corpus(things(items), things(users), clicks, "about", ("<|name|>", "<|about|>", "<|age|>", "<|clicked|>"))


def texts(**change: Any) -> LarrTexts:
    items = tuple(Thing((("name", f"dish {i}"), ("about", f"a hot dish {i}"))) for i in range(6))
    kinds = {kind: tuple(pairs(6, kind)) for kind in ("user_user", "item_item", "user_item")}
    content = {"marks": ("<|name|>", "<|about|>"), "described": "about", "items": items, "pairs": kinds}
    return LarrTexts(**{**content, **change})


def test_no_pair_that_is_held_out_is_trained_however_scarce_its_kind_is(model: str) -> None:
    """Of 40 and 5 pairs, among them some twice and some the other way round."""
    scarce = pairs(5, "s")
    scarce += [replace(one, left=one.right, right=one.left) for one in scarce] + scarce[-1:]
    given = {"user_user": scarce, "item_item": pairs(40, "i"), "user_item": pairs(4, "u")}
    work = Contrast.of(Reader.load(model, ["<|x|>"], OPTIONS, "cpu"), given, OPTIONS)  # type: ignore[arg-type]
    drawn = {example for batch in work.batches(0) for example in batch}
    assert drawn == set(range(work.trained)) == set(range(36))
    for kind, its in work.pairs.items():
        trained = {frozenset((one.left, one.right)) for one in its[: work.trained]}
        held_out = {frozenset((one.left, one.right)) for one in its[work.trained :]}
        assert not trained & held_out, kind
        assert len(held_out) == (4 if kind == "item_item" else 2)
        assert len(trained) + len(held_out) == {"user_user": 5, "item_item": 40, "user_item": 4}[kind]
    judged = work.judged(0, None, ALONE)
    assert all(judged[kind] > 0 for kind in given), "each held-out pair has a negative"


def test_the_last_tenth_is_held_out_and_two_at_least() -> None:
    for count, held_out in ((4, 2), (29, 2), (30, 3), (256, 25)):
        its = pairs(count, "k")
        assert split(its) == (its[:-held_out], its[-held_out:])


FEW = {"user_user": pairs(3, "u"), "item_item": pairs(6, "i"), "user_item": [*pairs(3, "x"), *pairs(3, "x")]}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"items": ()}, "fewer than two items have one"),
        ({"items": (Thing((("name", "soup"), ("about", " "))), Thing((("about", "hot"),)))}, "fewer than two items"),
        ({"items": (Thing((("about", "hot"),)), Thing((("about", "hot"),)))}, "fewer than two items"),
        ({"pairs": {}}, "of the kind user_user, item_item, user_item"),
        ({"pairs": FEW}, "different pairs of the kind user_user, user_item, which stage 2 of 'larr' needs"),
    ],
    ids=["no items", "blank", "the same item twice", "no pairs", "the same pairs twice"],
)
@pytest.mark.usefixtures("unloaded")
def test_texts_that_are_too_few_are_refused_before_a_model_is_loaded(
    change: dict[str, Any], said: str, model: str, tmp_path: Path
) -> None:
    tuning = LarrTuning(texts=texts(**change), options=OPTIONS)
    with pytest.raises(DataError, match=said):
        tune_reader(tuning, model, "r", tmp_path / "adapter", tmp_path, device="cpu")


def test_what_has_no_weight_or_no_epochs_may_lack() -> None:
    check_texts(texts(items=()), OPTIONS.model_copy(update={"pretrain_epochs": 0}))
    check_texts(texts(pairs={}), OPTIONS.model_copy(update={"contrast_epochs": 0}))
    check_texts(texts(pairs=FEW), OPTIONS.model_copy(update={"user_user": 0.0, "user_item": 0.0}))


@pytest.mark.usefixtures("unloaded")
def test_a_log_with_one_user_is_refused_before_a_model_is_loaded(model: str, tmp_path: Path) -> None:
    _, schema = takeaway(tmp_path / "log", 300)
    file = tmp_path / "log" / "train.parquet"
    table = pq.read_table(file)
    for place, name in enumerate(("user_id", "age_group", "home")):
        table = table.set_column(place, name, pa.array(["one"] * len(table)))
    pq.write_table(table, file)
    train = open_dataset(tmp_path / "log", "click").train
    encoder = Encoder.fit(schema, train.batches(schema.columns))
    with pytest.raises(DataError, match="of the kind user_user,"):
        build_scene_table(encoder, train, model, OPTIONS, tmp_path / "work", device="cpu")


@pytest.mark.usefixtures("unloaded")
def test_an_encoder_that_cannot_mask_is_refused_before_it_is_loaded(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "model")
    config = folder / "tokenizer_config.json"
    config.write_text(config.read_text().replace('"mask_token"', '"other_token"'))
    with pytest.raises(OptionError, match=r"set larr\.pretrain_epochs to 0"):
        check_model(str(folder), OPTIONS)
    check_model(str(folder), OPTIONS.model_copy(update={"pretrain_epochs": 0}))


@pytest.mark.parametrize("weight", [float("inf"), float("nan"), -1.0])
def test_a_weight_is_a_number(weight: float) -> None:
    with pytest.raises(ValueError, match="user_user"):
        LarrOptions(user_user=weight)


def all_texts(found: dict[Any, list[Pair]]) -> Sequence[str]:
    return [text for its in found.values() for one in its for text in (one.left, one.right)]


def test_users_and_items_of_whom_nothing_can_be_said_make_no_pairs() -> None:
    items = {"i": {"name": "soup", "about": "hot"}, "j": {"name": "rice", "about": "dry"}, "k": {}}
    users: dict[str, dict[str, str]] = {"a": {}, "b": {}, "c": {"age": "old"}}
    found = draw_pairs(clicked(items, users, ("a", "i"), ("b", "i"), ("c", "i"), ("c", "j"), ("c", "k")), 20, 0)
    assert {(one.left_key, one.right_key) for one in found["user_item"]} == {("c", "i"), ("c", "j")}
    assert not found["user_user"]
    assert "" not in all_texts(found)
    assert not [text for text in all_texts(found) if text.endswith("<|clicked|>")]


def test_pairs_are_drawn_once_and_never_of_equal_texts() -> None:
    items = {name: {"name": "soup" if name in "ij" else name, "about": "hot"} for name in "ijkl"}
    users = {name: {"age": f"{name} years"} for name in "abc"}
    found = draw_pairs(clicked(items, users, *((u, i) for u in users for i in items)), 50, 0)
    for its in found.values():
        both = [frozenset((one.left, one.right)) for one in its]
        assert len(set(both)) == len(both)
        assert all(len(one) == 2 for one in both)


def test_equal_texts_of_different_things_are_no_negatives() -> None:
    its = [Pair("x", "soup", "u1", "i1"), Pair("y", "soup", "u2", "i2"), Pair("z", "rice", "u3", "i3")]
    assert negatives(its).tolist() == [[False, False, True], [False, False, True], [True, True, False]]


HOSTILE = "<|name|> spicy <|about|> soup <|clicked|> Ærøskøbing 辣 <|"


def test_what_looks_like_a_special_token_in_the_data_is_text(model: str) -> None:
    items = {f"i{n}": {"name": f"dish {n} <|about|>", "about": f"{HOSTILE} {n}"} for n in range(6)}
    users = {f"u{n}": {"age": f"<|name|> {n}"} for n in range(6)}
    corpus = clicked(items, users, *((u, i) for u in users for i in items))
    options = OPTIONS.model_copy(update={"most_pairs": 6, "mask_rate": 1.0})
    reader, drawn = Reader.load(model, corpus.marks, options, "cpu"), texts_of(corpus, options)
    work = Pretraining.of(reader, drawn, options)
    for one in work.sentences:
        assert [token - reader.first for token in one.tokens if token >= reader.first] == [0, 1]
        assert max(one.tokens[one.start : one.end]) < reader.first
    work.loss([0, 1], 0).backward()  # type: ignore[no-untyped-call]
    for its in drawn.pairs.values():
        for text in (side for one in its for side in (one.left, one.right)):
            (tokens,) = reader.encoder.tokenize([text])
            assert sum(token >= reader.first for token in tokens) == text.count("<|")
            assert text.count("<|") == 2, "a mark for each of an item's attributes, or for age and what was clicked"


def test_a_mark_that_is_given_twice_or_known_to_the_model_has_no_second_row(model: str) -> None:
    reader = Reader.load(model, ["<|a|>", "[MASK]", "<|a|>", "<|b|>"], OPTIONS, "cpu")
    (tokens,) = reader.encoder.tokenize(["<|a|> <|b|>"])
    assert [token - reader.first for token in tokens if token >= reader.first] == [0, 1]
    assert len(reader.embedding.rows) == 2
    none = Reader.load(model, ["[MASK]"], OPTIONS, "cpu")
    assert none.forward([tokens[:1]]).shape == (1, 32)
