"""The engine in this process: models are loaded when first asked for, the calls take turns of about a second."""

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from llactr_core.errors import LlactrError, RateError, UnavailableError
from llactr_core.semantics.weights import model_digest, resolve_model
from services.llm.engines.call import Call
from services.llm.engines.engine import Embedded, Voice, pinned
from services.llm.engines.line import Line
from services.llm.engines.measure import measured
from services.shared.accelerators.gpus import free_memory
from services.shared.lru import Lru

if TYPE_CHECKING:
    from llactr_core.semantics.encoder import TextEncoder

NAME = "transformers"
MAX_WAITING = 8
TURN_S = 1.0
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
        self._device = device
        self._voices: Lru[Voice, TextEncoder] = Lru(size)
        self._paused = False
        self._closed = False
        self._line = Line()
        self._seats = threading.BoundedSemaphore(MAX_WAITING)

    def embed(self, voice: Voice, texts: Sequence[str]) -> Embedded:
        """As `Engine.embed`."""
        if not self._seats.acquire(blocking=False):
            raise RateError(f"{MAX_WAITING} embedding calls are waiting already; send the call again later")
        try:
            known, call = pinned(voice), Call(texts)
            while not call.is_done():
                with self._line.front(), measured(NAME):
                    call.go_on(self._encoder(known), TURN_S)
            return call.embedded()
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
        self._paused = True
        with self._line.front():
            self._voices.clear()
            free_memory()

    def resume(self) -> None:
        """As `Engine.resume`."""
        self._paused = False

    def close(self) -> None:
        """As `Engine.close`; waits for nobody."""
        self._closed = True

    def _encoder(self, voice: Voice) -> "TextEncoder":
        if self._closed:
            raise UnavailableError("the service ends; send the call again")
        if self._paused:
            raise UnavailableError("the engine makes room for a tuning; send the call again later")
        known = self._voices.get(voice)
        if known is None:
            # Only here: a process that embeds nothing never loads torch.
            from llactr_core.semantics.tuned_model import load_tuned

            self._voices.make_room(1)
            known = load_tuned(voice.model, voice.adapter, self._device)
            pinned(voice)  # the files may have changed while they were read
            self._voices.put(voice, known)
        return known
