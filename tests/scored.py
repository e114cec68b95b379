"""Somebody who scores all the time, and knows what is right."""

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import httpx2
import numpy as np

from llactr_core.scorer import Scorer

ROWS = [{"job": "student", "age": 20}, {"job": "retired", "city": "c1"}, {"age": 70, "tags": ["a"]}, {}]


@dataclass
class Caller:
    """Scores the same rows again and again while the block lasts; remembers every answer and how long it took."""

    url: str
    pause_s: float = 0.02
    answers: list[tuple[float, int, str, list[float]]] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join(40)

    def _run(self) -> None:
        with httpx2.Client(base_url=self.url, timeout=30) as client:
            while not self._stop.wait(self.pause_s):
                self.answers.append(scored(client))

    @property
    def versions(self) -> list[str]:
        """The versions that answered, in the order of their first answer."""
        return list(dict.fromkeys(version for _, _, version, _ in self.answers))

    @property
    def slowest_s(self) -> float:
        return max(seconds for seconds, _, _, _ in self.answers)

    def wrong(self, scorers: Mapping[str, Scorer]) -> list[Any]:
        """The answers that are no scores of the version that they name."""
        right = {version: scorer.score(ROWS) for version, scorer in scorers.items()}
        return [
            answer
            for answer in self.answers
            if answer[1] != 200 or answer[2] not in right or not np.allclose(answer[3], right[answer[2]], atol=1e-6)
        ]


def scored(client: httpx2.Client) -> tuple[float, int, str, list[float]]:
    """Seconds, status, version and scores of one request."""
    started = time.monotonic()
    answer = client.post("/v1/score", json={"rows": ROWS})
    seconds, content = time.monotonic() - started, answer.json()
    if answer.status_code != 200:
        return seconds, answer.status_code, answer.text, []
    return seconds, 200, content["model"]["version"], content["scores"]
