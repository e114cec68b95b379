"""What happens to a service under load, and when: swaps of the champion, ends of workers, lost servers."""

import math
import os
import random
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import httpx2

from benchmarks.load.processes import children, connections, memory_mb

LOST_S = 30.0
SWAP_S = 20.0
LOOK_S = 5.0


@dataclass(frozen=True)
class Event:
    """Something that happens `at` seconds after the start."""

    at: float
    what: Callable[[], None]


@dataclass
class Trouble:
    """Makes trouble for the workers below `parent`, and writes down what it did."""

    admin: httpx2.Client
    parent: int
    port: int
    model: str
    versions: Sequence[str]
    swaps: int = 0
    swaps_refused: list[str] = field(default_factory=list)
    ended: list[int] = field(default_factory=list)  # connections of each worker that was ended, at that moment
    memory: list[tuple[float, float]] = field(default_factory=list)  # seconds since the start, the workers' MiB

    def play(self, events: Sequence[Event], seconds: float) -> None:
        """Let the events happen, each at its time, and look at the memory in between, for so many seconds."""
        began = time.monotonic()
        looks = [Event(at, lambda: None) for at in _every(LOOK_S, 0.0, seconds)]
        for event in sorted([*events, *looks], key=lambda event: event.at):
            time.sleep(max(0.0, began + event.at - time.monotonic()))
            event.what()
            self.memory.append((event.at, sum(map(memory_mb, children(self.parent)))))
        time.sleep(max(0.0, began + seconds - time.monotonic()))

    def swapping(self, seconds: float, every_s: float = SWAP_S) -> list[Event]:
        """The champion becomes the other version."""
        return [Event(at, self._swap) for at in _every(every_s, every_s, seconds)]

    def ending(self, number: signal.Signals, every_s: float, seconds: float) -> list[Event]:
        """One of the workers gets a signal, first after half of the time between two."""
        return [Event(at, lambda: self._end_one(number)) for at in _every(every_s, every_s / 2, seconds)]

    def _swap(self) -> None:
        version = self.versions[self.swaps % len(self.versions)]
        body = {"version": version, "force": True}
        try:
            answer = self.admin.put(f"/v1/admin/models/{self.model}/aliases/champion", json=body)
        except httpx2.TransportError as error:  # this connection too may be that of a worker which was killed
            self.swaps_refused.append(type(error).__name__)
            return
        if answer.status_code == 200:
            self.swaps += 1
        else:
            self.swaps_refused.append(str(answer.status_code))

    def _end_one(self, number: signal.Signals) -> None:
        worker = random.choice(children(self.parent))
        self.ended.append(connections(worker, self.port))
        os.kill(worker, number)

    @property
    def slope_mb_per_hour(self) -> float:
        """The growth of the workers' memory over the second half, by least squares."""
        half = self.memory[len(self.memory) // 2 :]
        mean_at = sum(at for at, _ in half) / len(half)
        mean = sum(mb for _, mb in half) / len(half)
        spread = sum((at - mean_at) ** 2 for at, _ in half)
        return 3600 * sum((at - mean_at) * (mb - mean) for at, mb in half) / spread if spread else 0.0


def _every(step: float, first: float, seconds: float) -> list[float]:
    count = max(0, math.ceil((seconds - first) / step))
    return [first + step * number for number in range(count)]
