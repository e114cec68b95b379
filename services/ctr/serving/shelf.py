"""The versions in memory, within a budget of bytes; who was used longest ago is put away first."""

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import TypeAlias

from llactr_core.errors import ConflictError
from llactr_core.scorer import Scorer
from services.ctr import metrics
from services.shared.settings import MEBIBYTE

Key: TypeAlias = tuple[str, str]


@dataclass(frozen=True)
class Loaded:
    """A verified bundle in memory, under the model's name and version."""

    name: str
    version: str
    scorer: Scorer

    @property
    def overlay(self) -> str | None:
        """The digest of its overlay; None where it has none."""
        overlay = self.scorer.overlay
        return None if overlay is None or not overlay.rows else overlay.digest

    @property
    def nbytes(self) -> int:
        """About how much memory it takes, in bytes."""
        return self.scorer.nbytes


class Shelf:
    """Loaded versions by (name, version). One of them may be pinned: it stays whatever comes.

    What is put away while a request scores with it lives until that request is answered. Safe between threads; no
    method waits for anything.
    """

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._versions: OrderedDict[Key, Loaded] = OrderedDict()
        self._pinned: Key | None = None
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, key: Key) -> Loaded | None:
        """The version, which counts as used, or None."""
        with self._lock:
            found = self._versions.get(key)
            if found is not None:
                self._versions.move_to_end(key)
            return found

    def content(self) -> list[Loaded]:
        """All of them, the last used last."""
        with self._lock:
            return list(self._versions.values())

    def pin(self, key: Key | None) -> None:
        """Keep this one from here on, in place of the one that was kept."""
        with self._lock:
            self._pinned = key
            self._make_room()

    def put(self, loaded: Loaded) -> None:
        """Add a version; others make room for it. One of the pinned one's model may be about to take its place, so
        that both stay for the moment.

        Raises:
            ConflictError: it has no room beside what has to stay.
        """
        with self._lock:
            kept = None if self._pinned is None else self._versions.get(self._pinned)
            beside = 0 if kept is None or kept.name == loaded.name else kept.nbytes
            others = any(name != loaded.name for name, _ in self._versions)
            if loaded.nbytes + beside > self._budget and others:
                raise ConflictError(
                    f"version {loaded.version} of {loaded.name!r} takes {_mb(loaded.nbytes)} MiB of memory, and there "
                    f"are {_mb(self._budget - beside)} MiB for it; raise memory_mb"
                )
            self._versions[(loaded.name, loaded.version)] = loaded
            self._bytes += loaded.nbytes
            self._make_room()

    def replace(self, loaded: Loaded) -> None:
        """Put another object of a version in the place of the one that is here; nothing where it has gone."""
        key = (loaded.name, loaded.version)
        with self._lock:
            before = self._versions.get(key)
            if before is not None:
                self._versions[key] = loaded
                self._bytes += loaded.nbytes - before.nbytes
                self._make_room()

    def _make_room(self) -> None:
        """Put away the longest unused until the rest fits; the pinned and the newest stay."""
        candidates = [key for key in list(self._versions)[:-1] if key != self._pinned]
        for key in candidates:
            if self._bytes <= self._budget:
                break
            self._bytes -= self._versions.pop(key).nbytes
            metrics.MODEL_EVICTIONS.inc()
        metrics.MODELS_LOADED.set(len(self._versions))
        metrics.MODEL_BYTES.set(self._bytes)


def _mb(size: int) -> int:
    return -(-size // MEBIBYTE)
