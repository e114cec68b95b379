"""Stages 1 and 2: what they read, their losses against slow references, what they train, and going on after a kill."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from takeaway import takeaway
from tiny_model import save_tiny_model

from llactr_core.data.encoding import Encoder
from llactr_core.data.splits import Splits, open_dataset
from llactr_core.enhancers.larr.build import build_scene_table
from llactr_core.enhancers.larr.contrast import Contrast, info_nce, negatives
from llactr_core.enhancers.larr.corpus import Corpus
from llactr_core.enhancers.larr.options import LarrOptions
from llactr_core.enhancers.larr.pairs import draw_pairs
from llactr_core.enhancers.larr.pretrain import Pretraining, masked_loss
from llactr_core.enhancers.larr.read import texts_of
from llactr_core.enhancers.larr.reader import TOKENS, Head, Reader
from llactr_core.enhancers.larr.scenes import scene_values
from llactr_core.enhancers.larr.texts import LarrTuning, Pair
from llactr_core.enhancers.larr.tune import tune_reader
from llactr_core.errors import ArtifactError, DataError, OptionError
from llactr_core.progress import Progress
from llactr_core.schema import Field, Kind, Schema
from llactr_core.semantics import head
from llactr_core.semantics.encoder import TextEncoder
from llactr_core.semantics.tuned_model import load_tuned
from llactr_core.semantics.tuning.checkpoint import load_state
from llactr_core.semantics.tuning.run import put
from llactr_core.semantics.tuning.team import ALONE
from llactr_core.semantics.values.gather import unit

Floats = npt.NDArray[np.float64]
OPTIONS = LarrOptions(pretrain_epochs=1, contrast_epochs=1, most_items=12, most_pairs=8, batch_size=4)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_tiny_model(tmp_path_factory.mktemp("models") / "tiny"))


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> tuple[Splits, Schema]:
    return takeaway(tmp_path_factory.mktemp("takeaway"), 800)


@pytest.fixture(scope="module")
def encoder(log: tuple[Splits, Schema]) -> Encoder:
    return Encoder.fit(log[1], log[0].train.batches(log[1].columns))


@pytest.fixture(scope="module")
def corpus(log: tuple[Splits, Schema], encoder: Encoder) -> Corpus:
    return Corpus.read(log[1], encoder, log[0].train)


@pytest.fixture
def reader(model: str, corpus: Corpus) -> Reader:
    return Reader.load(model, corpus.marks, OPTIONS, "cpu")


def test_items_are_read_with_a_mark_before_each_attribute_and_the_longest_one_is_predicted(corpus: Corpus) -> None:
    assert corpus.described == "description"
    item = corpus.items["r1"]
    assert [name for name, _ in item.attributes] == ["item_name", "category", "place", "description"]
    words = dict(item.attributes)
    assert item.text("description") == (
        f"<|item_name|> {words['item_name']} <|category|> {words['category']} <|place|> {words['place']}"
    )
    assert "user_id" not in dict(corpus.users["u1"].attributes)
    assert "<|clicked|>" in corpus.marks


def test_pairs_are_of_clicks_and_a_users_text_does_not_tell_what_makes_the_pair(corpus: Corpus) -> None:
    pairs = draw_pairs(corpus, 40, 0)
    clicks = set(corpus.clicks)
    for pair in pairs["user_item"]:
        assert (pair.left_key, pair.right_key) in clicks
        clicked = pair.left.partition("<|clicked|>")[2]
        assert dict(corpus.items[pair.right_key].attributes)["item_name"] not in clicked
    for pair in pairs["user_user"]:
        both = {i for u, i in clicks if u == pair.left_key} & {i for u, i in clicks if u == pair.right_key}
        assert both
        assert pair.left_key != pair.right_key
    for pair in pairs["item_item"]:
        assert {u for u, i in clicks if i == pair.left_key} & {u for u, i in clicks if i == pair.right_key}
    assert all(len(found) <= 40 for found in pairs.values())
    assert len(pairs["user_item"]) == 40


def reference(left: Floats, right: Floats, tau: float, pairs: Sequence[Pair]) -> float:
    total = 0.0
    for i, pair in enumerate(pairs):
        cosines = {}
        for j, other in enumerate(pairs):
            is_same = {other.right_key} & {pair.left_key, pair.right_key} or other.left_key == pair.left_key
            if i == j or not is_same:
                size = np.linalg.norm(left[i]) * np.linalg.norm(right[j])
                cosines[j] = np.exp(left[i] @ right[j] / size / tau)
        total -= np.log(cosines[i] / sum(cosines.values()))
    return total / len(pairs)


def test_the_contrastive_loss_is_an_infonce_without_negatives_of_the_same_thing() -> None:
    keys = [("a", "x"), ("b", "x"), ("a", "y"), ("c", "z"), ("z", "a")]
    pairs = [Pair(f"of {left}", f"of {right}", left, right) for left, right in keys]
    random = np.random.default_rng(0)
    left, right = random.normal(size=(5, 3)), random.normal(size=(5, 3))
    found = info_nce(torch.from_numpy(left), torch.from_numpy(right), 0.2, torch.from_numpy(negatives(pairs)))
    assert float(found) == pytest.approx(reference(left, right, 0.2, pairs))


def test_stage_2_is_the_weighted_sum_of_the_three_losses(reader: Reader, corpus: Corpus) -> None:
    options = OPTIONS.model_copy(update={"user_user": 0.5, "item_item": 2.0, "user_item": 3.0})
    work = Contrast.of(reader, draw_pairs(corpus, 8, 0), options)
    with torch.no_grad():
        parts = [float(work.loss_of(kind, [0, 1, 2])) for kind in ("user_user", "item_item", "user_item")]
        assert float(work.loss([0, 1, 2], 0)) == pytest.approx(0.5 * parts[0] + 2 * parts[1] + 3 * parts[2], rel=1e-5)


def test_the_masked_loss_is_minus_log_p_of_the_hidden_tokens_by_the_input_embeddings(reader: Reader) -> None:
    rows = reader.encoder.tokenize(["abc def", "ghi"])
    masks = [[1, 3], [2]]
    blank = reader.encoder.tokenizer.mask_token_id
    weights = reader.encoder.model.get_input_embeddings().weight.detach().double().numpy()
    total = 0.0
    for row, places in zip(rows, masks, strict=True):
        hidden = [blank if at in places else token for at, token in enumerate(row)]
        with torch.no_grad():
            states = reader.encoder.states([hidden])[0].double().numpy()
        for at in places:
            logits = weights @ states[at]
            total += np.log(np.exp(logits - logits.max()).sum()) + logits.max() - logits[row[at]]
    assert masked_loss(reader, rows, masks).item() == pytest.approx(total / 3, rel=1e-4)


def test_only_descriptions_are_masked_and_held_out_items_always_alike(reader: Reader, corpus: Corpus) -> None:
    work = Pretraining.of(reader, texts_of(corpus, OPTIONS), OPTIONS)
    for one in work.sentences:
        said = reader.encoder.tokenizer.decode(one.tokens[one.start : one.end]).replace(" ", "").replace("##", "")
        assert said.startswith("weserve")
    assert work.judged(0, None, ALONE)["held_out_loss"] == work.judged(1, None, ALONE)["held_out_loss"]
    drawn = {number for batch in work.batches(0) for number in batch}
    assert drawn == set(range(len(work.sentences) - work.held_out))


def test_lora_and_the_special_tokens_learn_and_nothing_else(reader: Reader, corpus: Corpus) -> None:
    work = Pretraining.of(reader, texts_of(corpus, OPTIONS), OPTIONS)
    with torch.no_grad():  # LoRA begins with an update of zero, through which no gradient reaches its other half
        for name, parameter in reader.parameters.items():
            if "lora_B" in name or "outer" in name:
                parameter.normal_(std=0.1)
    work.loss([0, 1, 2], 0).backward()  # type: ignore[no-untyped-call]
    trained = {name for name, parameter in reader.encoder.model.named_parameters() if parameter.grad is not None}
    assert trained
    assert all("lora_" in name or name.endswith("word_embeddings.rows") for name in trained)
    rows = reader.parameters[TOKENS].grad
    assert rows is not None
    used = [corpus.marks.index(f"<|{name}|>") for name in ("item_name", "category", "place", "description")]
    assert rows[used].abs().sum(1).min() > 0
    Contrast.of(reader, draw_pairs(corpus, 8, 0), OPTIONS).loss([0, 1, 2], 0).backward()  # type: ignore[no-untyped-call]
    assert [name for name, p in reader.parameters.items() if p.grad is None or not p.grad.any()] == []


def test_the_untrained_reader_reads_as_the_model_came(model: str, reader: Reader) -> None:
    rows = reader.encoder.tokenize(["weather: snow", "weather: light rain"])
    with torch.no_grad():
        as_it_came = unit(TextEncoder.load(model, device="cpu").embed_tokens(rows))
        np.testing.assert_allclose(reader.forward(rows).numpy(), as_it_came, atol=1e-6)


def test_the_head_that_is_kept_is_the_one_that_was_trained(tmp_path: Path) -> None:
    trained = Head(6)
    with torch.no_grad():
        for parameter in trained.parameters():
            parameter.normal_()
    x = torch.randn(5, 6)
    head.Head.of({name: value.detach().numpy() for name, value in trained.named_parameters()}).save(tmp_path)
    kept = head.Head.load(tmp_path)
    assert kept is not None
    with torch.no_grad():
        np.testing.assert_allclose(kept(x.numpy(), normalise=False), trained(x).numpy(), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(kept(x.numpy(), normalise=True), axis=1), 1, atol=1e-6)
    (tmp_path / head.FILE).write_bytes(b"no head")
    with pytest.raises(ArtifactError, match="cannot read the head"):
        head.Head.load(tmp_path)


def test_the_adapter_reads_as_the_reader_that_was_tuned(corpus: Corpus, model: str, tmp_path: Path) -> None:
    tuning = LarrTuning(texts=texts_of(corpus, OPTIONS), options=OPTIONS.model_copy(update={"learning_rate": 0.05}))
    tuned = tune_reader(tuning, model, "r", tmp_path / "adapter", tmp_path, device="cpu")
    assert tuned.adapter is not None
    assert tuned.metrics["contrast"]["best_epoch"] == 1
    reader = Reader.load(model, corpus.marks, tuning.options, "cpu")
    best = load_state(tmp_path / "contrast.safetensors", "r")
    assert best is not None
    put(reader.parameters, best.best)
    rows = reader.encoder.tokenize(["weather: snow", "weather: light rain"])
    with torch.no_grad():
        expected = reader.forward(rows).numpy()
    np.testing.assert_allclose(unit(load_tuned(model, tuned.adapter, "cpu").embed_tokens(rows)), expected, atol=1e-5)
    untuned = unit(TextEncoder.load(model, device="cpu").embed_tokens(rows))
    assert np.abs(untuned - expected).max() > 1e-3


def test_what_is_read_survives_json_and_decides_the_recipe(corpus: Corpus, model: str) -> None:
    schema = Schema(name="s", label="click", fields=(Field(name="weather", scene=True),))
    tuning = LarrTuning(texts=texts_of(corpus, OPTIONS), options=OPTIONS)
    assert LarrTuning.parse(tuning.model_dump(mode="json")) == tuning
    recipe = tuning.recipe(schema, model)
    wider = tuning.model_copy(update={"options": OPTIONS.model_copy(update={"width": 8})})
    assert wider.recipe(schema, model) == recipe
    longer = tuning.model_copy(update={"options": OPTIONS.model_copy(update={"pretrain_epochs": 2})})
    fewer = tuning.model_copy(update={"texts": tuning.texts.model_copy(update={"items": tuning.texts.items[1:]})})
    assert len({recipe, longer.recipe(schema, model), fewer.recipe(schema, model)}) == 3
    with pytest.raises(OptionError, match=r"larr\.texts\.items"):
        LarrTuning.parse({"texts": {"marks": ["<|d|>"], "described": "d", "items": "x", "pairs": {}}, "options": {}})


def test_a_killed_build_goes_on_to_the_same_vectors(
    log: tuple[Splits, Schema], encoder: Encoder, model: str, tmp_path: Path
) -> None:
    class Killed(Exception):
        pass

    def kill(progress: Progress) -> None:
        if "contrast" in progress.stage and progress.done > 0:
            raise Killed

    train = log[0].train
    with pytest.raises(Killed):
        build_scene_table(encoder, train, model, OPTIONS, tmp_path / "a", device="cpu", progress=kill)
    seen: list[str] = []
    again = build_scene_table(
        encoder, train, model, OPTIONS, tmp_path / "a", device="cpu", progress=lambda p: seen.append(p.stage)
    )
    through = build_scene_table(encoder, train, model, OPTIONS, tmp_path / "b", device="cpu")
    assert again == through
    assert not any("pre-training" in stage for stage in seen)
    assert through.fields == ("time_of_day", "weekday", "location", "weather", "device")


def test_data_without_items_in_words_is_refused_with_a_way_out(log: tuple[Splits, Schema]) -> None:
    schema = Schema(
        name="s", label="click", fields=(Field(name="user_id", side="user"), Field(name="weather", scene=True))
    )
    encoder = Encoder.fit(schema, log[0].train.batches(schema.columns))
    with pytest.raises(DataError, match=r"set larr\.pretrain_epochs and larr\.contrast_epochs to 0"):
        Corpus.read(schema, encoder, log[0].train)


def test_lists_and_long_texts_are_read_as_words_and_lists_name_nobody(tmp_path: Path) -> None:
    fields = (
        Field(name="user_id", side="user"),
        Field(name="seen", side="user", kind=Kind.MULTI_VALUED, textual=True),
        Field(name="item_id", side="item"),
        Field(name="name", side="item", textual=True),
        Field(name="about", side="item", textual=True),
        Field(name="weather", scene=True),
    )
    schema = Schema(name="s", label="click", fields=fields)
    rows = [
        {
            "user_id": f"u{i % 4}",
            "seen": [f"film {i}", f"song {i}"],
            "item_id": f"i{i % 3}",
            "name": f"dish {i % 3}",
            "about": "so good " * 60,
            "weather": "rain",
            "click": i % 2,
        }
        for i in range(12)
    ]
    for part in ("train", "valid", "test"):
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / f"{part}.parquet")
    train = open_dataset(tmp_path, "click").train
    corpus = Corpus.read(schema, Encoder.fit(schema, train.batches(schema.columns)), train)
    assert set(corpus.users) == {"u0", "u1", "u2", "u3"}
    assert dict(corpus.users["u0"].attributes)["seen"] == "film 0|song 0"
    about = dict(corpus.items["i0"].attributes)["about"]
    assert set(about.split()) == {"so", "good"}, "no digest of what was cut"


def test_held_out_items_are_judged_by_batches(reader: Reader, corpus: Corpus) -> None:
    texts = texts_of(corpus, OPTIONS)
    work = Pretraining.of(reader, texts, OPTIONS)
    many = replace(work, held_out=6)
    one_batch = replace(many, options=OPTIONS.model_copy(update={"batch_size": 64}))
    found = [one.judged(0, None, ALONE)["held_out_loss"] for one in (many, one_batch)]
    assert found[0] == pytest.approx(found[1], rel=1e-5)


def test_a_field_of_the_scene_without_values_is_refused_before_any_tuning(log: tuple[Splits, Schema]) -> None:
    schema = Schema(name="s", label="click", fields=(Field(name="weather", scene=True, min_count=10_000),))
    encoder = Encoder.fit(schema, log[0].train.batches(schema.columns))
    with pytest.raises(OptionError, match="train has no value of it"):
        scene_values(encoder)
