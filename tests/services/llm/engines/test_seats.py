import threading
import time

import numpy as np
import pytest

from llactr_core.errors import RateError
from services.llm.engines import transformers
from services.llm.engines.engine import Voice
from services.llm.engines.transformers import TransformersEngine


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
