"""Texts to vectors in the API process: models are loaded when first asked for, one batch of texts runs at a time."""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from llactr_core.errors import RateError

if TYPE_CHECKING:
    from llactr_core.semantics.encoder import TextEncoder

MAX_WAITING = 8


@dataclass(frozen=True)
class Engine:
    """A language model by the name that it is loaded by, with the adapter of a field table where one is asked for."""

    model: str
    adapter: Path | None = None


@dataclass(frozen=True)
class Embedded:
    """Vectors float32 [B, D] in the order of the texts, and how many tokens they took."""

    vectors: npt.NDArray[np.float32]
    tokens: int


class Embedder:
    """The engines in memory: at most `size`, the one that was used longest ago is dropped first."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._engines: OrderedDict[Engine, TextEncoder] = OrderedDict()
        self._lock = threading.Lock()
        self._seats = threading.BoundedSemaphore(MAX_WAITING)

    def embed(self, engine: Engine, texts: Sequence[str]) -> Embedded:
        """Embed B texts; the first call of an engine loads it, which takes seconds.

        Raises:
            RateError: too many calls wait already.
            NotFoundError, ArtifactError: the model or the adapter is not here, or damaged.
        """
        if not self._seats.acquire(blocking=False):
            raise RateError(f"{MAX_WAITING} embedding calls are waiting already; send the call again later")
        try:
            with self._lock:
                encoder = self._encoder(engine)
                rows = encoder.tokenize(texts)
                return Embedded(encoder.embed_tokens(rows), sum(len(row) for row in rows))
        finally:
            self._seats.release()

    def _encoder(self, engine: Engine) -> "TextEncoder":
        known = self._engines.get(engine)
        if known is None:
            # Only here: the API process answers all other calls without torch.
            from llactr_core.semantics.build import load_tuned

            while len(self._engines) >= self._size:
                self._engines.popitem(last=False)
            known = self._engines[engine] = load_tuned(engine.model, engine.adapter)
        self._engines.move_to_end(engine)
        return known
