"""The engine in this process: voices come and go, adapters are checked, a tuning gets room."""

import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from adapters import random_adapter
from safetensors.numpy import load_file, save_file

from llactr_core.errors import ArtifactError, NotFoundError, RateError, TooLargeError, UnavailableError
from llactr_core.schema import Field, Schema
from llactr_core.semantics import tuned_model
from llactr_core.semantics.build import embed_fields
from services.llm.engines import transformers
from services.llm.engines.engine import Voice, pinned
from services.llm.engines.transformers import TransformersEngine

SCHEMA = Schema(name="two", fields=(Field(name="colour"), Field(name="count")))
TEXTS = ("colour", "count")


@pytest.fixture(scope="module")
def adapter(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_adapter(str(tiny_model), 1, tmp_path_factory.mktemp("tuned"), TEXTS)[0]


def test_vectors_are_those_of_the_library(tiny_model: Path, adapter: Path) -> None:
    engine = TransformersEngine(str(tiny_model), 2, "cpu")
    for folder in (None, adapter):
        embedded = engine.embed(Voice(str(tiny_model), folder), TEXTS)
        np.testing.assert_array_equal(embedded.vectors, embed_fields(SCHEMA, str(tiny_model), folder, "cpu"))
        assert embedded.tokens == (len("colour") + 2, len("count") + 2)  # characters, and [CLS] and [SEP]


def test_a_damaged_adapter_gives_no_vector(tiny_model: Path, adapter: Path, tmp_path: Path) -> None:
    engine = TransformersEngine(str(tiny_model), 2, "cpu")
    damaged = tmp_path / "damaged"
    shutil.copytree(adapter, damaged)
    weights = damaged / "adapter_model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-64:] = np.full(16, 7, dtype="<f4").tobytes()  # still a valid file
    weights.write_bytes(content)
    for _ in range(2):
        with pytest.raises(ArtifactError, match="canary"):
            engine.embed(Voice(str(tiny_model), damaged), ["colour"])
    assert engine.embed(Voice(str(tiny_model)), ["colour"]).vectors.shape == (1, 32)


def test_the_voice_that_was_used_longest_ago_is_dropped(tiny_model: Path, adapter: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(adapter, other)
    engine = TransformersEngine(str(tiny_model), 2, "cpu")
    voices = [Voice(str(tiny_model), folder) for folder in (None, adapter, other)]
    for voice in (voices[0], voices[1], voices[0], voices[2]):
        engine.embed(voice, ["a"])
    shutil.rmtree(other)
    engine.embed(voices[2], ["a"])  # in memory
    engine.embed(voices[0], ["a"])
    engine.embed(voices[1], ["a"])
    with pytest.raises(ArtifactError):  # no longer in memory
        engine.embed(voices[2], ["a"])


def test_during_a_tuning_nothing_is_in_memory_and_nothing_is_embedded(tiny_model: Path) -> None:
    engine = TransformersEngine(str(tiny_model), 2, "cpu")
    voice = Voice(str(tiny_model))
    before = engine.embed(voice, ["a"]).vectors
    engine.pause()
    with pytest.raises(UnavailableError, match="makes room for a tuning"):
        engine.embed(voice, ["a"])
    engine.resume()
    np.testing.assert_array_equal(engine.embed(voice, ["a"]).vectors, before)


@pytest.fixture
def model(tiny_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_model, tmp_path / "model"))


def change_weights(model: Path, value: float | None = None) -> None:
    """Give a model other weights in place; the value is everywhere in its word embeddings."""
    weights = load_file(model / "model.safetensors")
    words = weights["embeddings.word_embeddings.weight"]
    weights["embeddings.word_embeddings.weight"] = words[::-1].copy() if value is None else np.full_like(words, value)
    save_file(weights, model / "model.safetensors", {"format": "pt"})


def test_weights_that_changed_in_place_are_read_again(model: Path) -> None:
    engine, voice = TransformersEngine(str(model), 2, "cpu"), Voice(str(model))
    before = engine.embed(voice, TEXTS).vectors
    relied_on = pinned(voice)
    change_weights(model)
    after = engine.embed(voice, TEXTS).vectors
    assert np.abs(after - before).max() > 1e-3
    np.testing.assert_array_equal(after, embed_fields(SCHEMA, str(model), None, "cpu"))
    with pytest.raises(ArtifactError, match="have changed"):
        engine.embed(relied_on, TEXTS)


def test_vectors_that_are_not_finite_are_refused(model: Path) -> None:
    change_weights(model, np.nan)
    with pytest.raises(ArtifactError, match="not finite of 2 texts of 2"):
        TransformersEngine(str(model), 2, "cpu").embed(Voice(str(model)), TEXTS)


def test_no_text_is_cut(tiny_model: Path) -> None:
    engine, voice = TransformersEngine(str(tiny_model), 2, "cpu"), Voice(str(tiny_model))
    longest = "a " * 252  # and [CLS] and [SEP]
    assert engine.embed(voice, [longest]).tokens == (254,)
    with pytest.raises(TooLargeError, match=r"has 255 tokens.*at most 254") as refused:
        engine.embed(voice, ["a", longest + "a"])
    assert refused.value.row == 1


class Steps:
    """An encoder that takes a while for every batch, and notes whose texts it sees."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def tokenize_whole(self, texts: list[str]) -> list[list[int]]:
        return [[int(text)] * 4000 for text in texts]  # a batch each

    def embed_tokens(self, rows: list[list[int]]) -> object:
        self.seen.append(rows[0][0])
        time.sleep(0.02)
        return np.zeros((len(rows), 3), dtype=np.float32)


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Steps:
    made = Steps()
    monkeypatch.setattr(tuned_model, "load_tuned", lambda *_: made)
    monkeypatch.setattr(transformers, "TURN_S", 0.0)
    return made


def test_a_long_call_lets_a_short_one_pass(tiny_model: Path, steps: Steps, wait_for: Callable[..., None]) -> None:
    engine, voice = TransformersEngine(str(tiny_model), 1), Voice(str(tiny_model))
    with ThreadPoolExecutor(1) as pool:
        long = pool.submit(engine.embed, voice, ["1"] * 100)
        wait_for(lambda: len(steps.seen) > 0, 10, "the long call to begin")
        engine.embed(voice, ["2"])
        assert len(steps.seen) < 50
        assert long.result(20).vectors.shape == (100, 3)
    assert steps.seen.count(2) == 1


@pytest.mark.parametrize(("end", "said"), [("close", "the service ends"), ("pause", "makes room for a tuning")])
def test_a_long_call_makes_way(
    tiny_model: Path, steps: Steps, wait_for: Callable[..., None], end: str, said: str
) -> None:
    engine = TransformersEngine(str(tiny_model), 1)
    with ThreadPoolExecutor(1) as pool:
        long = pool.submit(engine.embed, Voice(str(tiny_model)), ["1"] * 100)
        wait_for(lambda: len(steps.seen) > 0, 10, "the long call to begin")
        getattr(engine, end)()
        with pytest.raises(UnavailableError, match=said):
            long.result(20)
    assert len(steps.seen) < 50


def test_it_is_ready_where_the_model_is_there(tiny_model: Path, tmp_path: Path) -> None:
    TransformersEngine(str(tiny_model), 2).check()
    absent = TransformersEngine(str(tmp_path / "absent"), 2)
    with pytest.raises(UnavailableError, match="absent"):
        absent.check()
    with pytest.raises(NotFoundError):
        absent.embed(Voice(str(tmp_path / "absent")), ["a"])


class Slow:
    """An encoder that answers when it is told to."""

    def __init__(self) -> None:
        self.go = threading.Event()

    def tokenize_whole(self, texts: list[str]) -> list[list[int]]:
        return [[1, 2] for _ in texts]

    def embed_tokens(self, rows: list[list[int]]) -> object:
        assert self.go.wait(10)
        return np.zeros((len(rows), 3), dtype=np.float32)


def test_only_so_many_calls_may_wait(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Slow()
    monkeypatch.setattr(TransformersEngine, "_encoder", lambda _self, _voice: slow)
    monkeypatch.setattr(transformers, "MAX_WAITING", 3)
    busy, voice = TransformersEngine(str(tiny_model), 1), Voice(str(tiny_model))
    tokens: list[tuple[int, ...]] = []
    refused: list[str] = []

    def ask() -> None:
        try:
            tokens.append(busy.embed(voice, ["a", "b"]).tokens)
        except RateError as error:
            refused.append(error.detail)

    calls = [threading.Thread(target=ask) for _ in range(4)]
    for call in calls:
        call.start()
    end = time.monotonic() + 10
    while not refused and time.monotonic() < end:
        time.sleep(0.01)
    slow.go.set()
    for call in calls:
        call.join()
    assert tokens == [(2, 2)] * 3
    assert len(refused) == 1
    assert "waiting" in refused[0]
    assert busy.embed(voice, ["c"]).vectors.shape == (1, 3)
