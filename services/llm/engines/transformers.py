"""The engine in this process: models are loaded when first asked for, one batch of texts runs at a time."""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from llactr_core.errors import LlactrError, RateError, UnavailableError
from llactr_core.semantics.weights import model_digest, resolve_model
from services.llm.engines.accelerator import free_memory
from services.llm.engines.engine import Embedded, Voice
from services.llm.engines.measure import measured

if TYPE_CHECKING:
    from llactr_core.semantics.encoder import TextEncoder

NAME = "transformers"
MAX_WAITING = 8
Device = Literal["auto", "cpu", "cuda"]


class TransformersEngine:
    """Voices in memory: at most `size`, the one that was used longest ago is dropped first.

    Args:
        model: the model that `check` looks for.
        size: the most voices in memory.
        device: where they are loaded.
    """

    def __init__(self, model: str, size: int, device: Device = "auto") -> None:
        self._model = model
        self._size = size
        self._device = device
        self._voices: OrderedDict[Voice, TextEncoder] = OrderedDict()
        self._paused = False
        self._lock = threading.Lock()
        self._seats = threading.BoundedSemaphore(MAX_WAITING)

    def embed(self, voice: Voice, texts: Sequence[str]) -> Embedded:
        """As `Engine.embed`."""
        if not self._seats.acquire(blocking=False):
            raise RateError(f"{MAX_WAITING} embedding calls are waiting already; send the call again later")
        try:
            with self._lock, measured(NAME):
                encoder = self._encoder(voice)
                rows = encoder.tokenize(texts)
                return Embedded(encoder.embed_tokens(rows), tuple(len(row) for row in rows))
        finally:
            self._seats.release()

    def check(self) -> None:
        """As `Engine.check`: the model's files are there and verified; nothing is loaded for it."""
        try:
            model_digest(resolve_model(self._model))
        except LlactrError as error:
            raise UnavailableError(f"the language model cannot be used: {error.detail}") from error

    def pause(self) -> None:
        """As `Engine.pause`; waits until the batch that runs has ended."""
        with self._lock:
            self._paused = True
            self._voices.clear()
            free_memory()

    def resume(self) -> None:
        """As `Engine.resume`."""
        self._paused = False

    def close(self) -> None:
        """As `Engine.close`."""
        self.pause()

    def _encoder(self, voice: Voice) -> "TextEncoder":
        if self._paused:
            raise UnavailableError("the engine makes room for a tuning; send the call again later")
        known = self._voices.get(voice)
        if known is None:
            # Only here: a process that embeds nothing never loads torch.
            from llactr_core.semantics.tuned_model import load_tuned

            while len(self._voices) >= self._size:
                self._voices.popitem(last=False)
            known = self._voices[voice] = load_tuned(voice.model, voice.adapter, self._device)
        self._voices.move_to_end(voice)
        return known
