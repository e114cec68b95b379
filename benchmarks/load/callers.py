"""Callers in threads, each with a Python client that retries: no call of theirs may fail or be answered wrongly."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

from llactr_client import ApiError, Client, ConnectionFailed

from benchmarks.load.versions import Truth

PAUSE_S = 0.05


@dataclass
class Callers:
    """`count` threads that score the requests in turn, until they are told to stop."""

    url: str
    requests: Sequence[list[dict[str, str]]]
    truth: Truth
    count: int = 4
    calls: int = 0
    failures: list[str] = field(default_factory=list)
    wrong: int = 0

    def __post_init__(self) -> None:
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._call, daemon=True) for _ in range(self.count)]

    def start(self) -> None:
        """Begin to call."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Wait for the last calls."""
        self._stop.set()
        for thread in self._threads:
            thread.join(60)

    def _call(self) -> None:
        with Client(ctr_url=self.url) as client:
            while not self._stop.wait(PAUSE_S):
                with self._lock:
                    number = self.calls % len(self.requests)
                    self.calls += 1
                try:
                    said = client.score(self.requests[number])
                except (ApiError, ConnectionFailed) as error:
                    self.failures.append(repr(error))
                    continue
                if not self.truth.is_right(number, said.version, said.scores):
                    with self._lock:
                        self.wrong += 1
