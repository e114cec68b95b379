"""The engine in this process: voices come and go, adapters are checked, a tuning gets room."""

import shutil
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from adapters import random_adapter

from llactr_core.errors import ArtifactError, NotFoundError, RateError, UnavailableError
from llactr_core.schema import Field, Schema
from llactr_core.semantics.build import embed_fields
from services.llm.engines import transformers
from services.llm.engines.engine import Voice
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

    def tokenize(self, texts: list[str]) -> list[list[int]]:
        return [[1, 2] for _ in texts]

    def embed_tokens(self, rows: list[list[int]]) -> object:
        assert self.go.wait(10)
        return np.zeros((len(rows), 3), dtype=np.float32)


def test_only_so_many_calls_may_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Slow()
    monkeypatch.setattr(TransformersEngine, "_encoder", lambda _self, _voice: slow)
    monkeypatch.setattr(transformers, "MAX_WAITING", 3)
    busy = TransformersEngine("m", 1)
    tokens: list[tuple[int, ...]] = []
    refused: list[str] = []

    def ask() -> None:
        try:
            tokens.append(busy.embed(Voice("m"), ["a", "b"]).tokens)
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
    assert busy.embed(Voice("m"), ["c"]).vectors.shape == (1, 3)
