"""The engine behind a vLLM server: our token ids go out, raw vectors come back, no text ever meets a wrong adapter.

Three ways to wrong vectors are closed. A batch that mixes rows with and without an adapter may give the latter someone
else's adapter, so the untuned model is served through an adapter of zeros and every row has one. An adapter loaded
again under its old name may be answered from the old one's cache, so adapters are named by their content, and the
server that we start caches no prefixes. A server knows the model's files as they were when it started, so once they
have changed it is asked for nothing.
"""

import logging
import threading
from collections import OrderedDict
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from llactr_core.errors import ArtifactError, NotFoundError, OptionError, RateError, UnavailableError
from llactr_core.semantics.canary import Canary
from llactr_core.semantics.head import Head
from llactr_core.semantics.table import Vectors
from llactr_core.semantics.template import default_template
from llactr_core.semantics.tokens import Tokens, load_tokenizer, tokenize, tokenize_whole
from llactr_core.semantics.weights import model_digest, model_label, resolve_model
from services.llm.engines.engine import Embedded, Voice, pinned
from services.llm.engines.measure import measured
from services.llm.engines.vllm.child import Child
from services.llm.engines.vllm.client import VllmClient

NAME = "vllm"
MAX_WAITING = 64
TRIES = 3

logger = logging.getLogger(__name__)


class VllmEngine:
    """One server with one model and its adapters.

    Args:
        model: the model that the server serves.
        client: the way to the server.
        adapters: the folder where the adapter of zeros is kept; the server reads it.
        max_adapters: the most adapters to leave on the server, besides the one of zeros.
        child: the server, where this process runs it.
        sleeps: for a tuning the server is put to sleep; else it is ended (a child) or left alone (another's).
    """

    def __init__(
        self, model: str, client: VllmClient, adapters: Path, max_adapters: int, child: Child | None, *, sleeps: bool
    ) -> None:
        self._model = model
        self._client = client
        self._adapters = adapters
        self._max_adapters = max_adapters
        self._child = child
        self._sleeps = sleeps
        self._paused = False
        self._digest: str | None = None  # of the model's files when the server started, or was first asked
        self._verified: OrderedDict[str, Path] = OrderedDict()  # the one that was used last at the end
        self._tokenizer: Any = None
        self._lock = threading.Lock()  # of what is verified; the others are held for longer
        self._starting = threading.Lock()
        self._loading = threading.Lock()
        self._reading = threading.Lock()
        self._seats = threading.BoundedSemaphore(MAX_WAITING)

    def embed(self, voice: Voice, texts: Sequence[str]) -> Embedded:
        """As `Engine.embed`.

        Raises:
            OptionError: the server serves another model.
        """
        if resolve_model(voice.model) != resolve_model(self._model):
            raise OptionError(
                f"the vLLM server serves {model_label(self._model)!r} only, {model_label(voice.model)!r} was asked for",
                field="model",
            )
        if not self._seats.acquire(blocking=False):
            raise RateError(f"{MAX_WAITING} embedding calls are waiting already; send the call again later")
        try:
            self._require_files(pinned(voice).digest)
            with measured(NAME):
                rows = self._tokens(texts, whole=True)
                return Embedded(self._behind_head(voice, self._vectors(voice, rows)), tuple(map(len, rows)))
        finally:
            self._seats.release()

    def check(self) -> None:
        """As `Engine.check`."""
        if self._paused or (self._sleeps and self._client.is_asleep()):
            raise UnavailableError("the engine makes room for a tuning; send the call again later")
        try:
            self._require_files(self._files())
        except (ArtifactError, NotFoundError) as error:
            raise UnavailableError(f"the language model cannot be used: {error.detail}") from error
        if self._child is not None:
            self._child.check()
        self._client.check()

    def pause(self) -> None:
        """As `Engine.pause`."""
        self._paused = True
        if self._sleeps:
            self._client.sleep()
        elif self._child is not None:
            self._child.stop()
            self._digest = None

    def resume(self) -> None:
        """As `Engine.resume`; a server that was ended is started again, and can be used once `check` is content."""
        with self._lock:
            self._verified.clear()
        self._paused = False
        if self._child is not None:
            self._digest = self._digest or self._files()
            self._child.start()
        if self._sleeps:
            self._wake()

    def close(self) -> None:
        """As `Engine.close`."""
        if self._child is not None:
            self._child.stop()
        self._client.close()

    def _wake(self) -> None:
        """Also a server that a worker put to sleep before it was killed; one that is not there comes back awake."""
        try:
            if self._client.is_asleep():
                self._client.wake()
        except UnavailableError as error:
            logger.warning("the vLLM server was not asked to wake: %s", error.detail)

    def _files(self) -> str:
        return model_digest(resolve_model(self._model))

    def _require_files(self, found: str | None) -> None:
        """Refuse what would be answered from other files than those that are there; a server of ours is renewed."""
        with self._starting:
            self._digest = self._digest or found
            if self._digest == found:
                return
            if self._child is None:
                raise ArtifactError(
                    f"the files of the model {model_label(self._model)} have changed; restart the vLLM server, which "
                    "may serve those that were there before, and then this service"
                )
            self._child.stop()
            self._digest, self._tokenizer = found, None
            with self._lock:
                self._verified.clear()
            self._child.start()
        raise UnavailableError("the model's files have changed: the vLLM server starts anew; send the call again later")

    def _tokens(self, texts: Sequence[str], *, whole: bool) -> list[Tokens]:
        path = resolve_model(self._model)
        with self._reading:  # a fast tokenizer is not made for several threads
            if self._tokenizer is None:
                self._tokenizer = load_tokenizer(path)
            cut_or_refuse = tokenize_whole if whole else tokenize
            return cut_or_refuse(self._tokenizer, default_template(path), texts)

    def _vectors(self, voice: Voice, rows: Sequence[Tokens]) -> Vectors:
        """Vectors float32 [B, D]; where the server has lost the adapter, it is loaded and checked again."""
        for _ in range(TRIES):
            if self._paused or (self._sleeps and self._client.is_asleep()):
                raise UnavailableError("the engine makes room for a tuning; send the call again later")
            try:
                return self._normalised(self._client.embed(self._ready(voice), rows))
            except NotFoundError:
                with self._lock:
                    self._verified.clear()
        raise UnavailableError("the vLLM server forgets adapters as fast as they are loaded; allow it more of them")

    def _ready(self, voice: Voice) -> str:
        """The name of the voice's adapter on the server, where it is loaded and has passed its canary."""
        folder = voice.adapter or self._untuned()
        if self._is_verified(folder):
            return folder.name
        canary = Canary.load(folder) if voice.adapter else None
        rows = self._tokens(canary.texts, whole=False) if canary else []
        with self._loading:
            self._load(self._untuned())
            self._load(folder)
            if canary:
                self._check(canary, folder.name, rows)
        with self._lock:
            self._verified[folder.name] = folder
        return folder.name

    def _is_verified(self, folder: Path) -> bool:
        with self._lock:
            if self._verified.get(folder.name) != folder:
                return False
            self._verified.move_to_end(folder.name)
            return True

    def _check(self, canary: Canary, name: str, rows: Sequence[Tokens]) -> None:
        try:
            base = self._client.embed(self._untuned().name, rows)
            canary.check(base, self._client.embed(name, rows))
        except ArtifactError:
            self._client.unload(name)
            raise

    def _load(self, folder: Path) -> None:
        """Have the adapter on the server from this very folder; those that we used longest ago make room."""
        there = self._client.adapters()
        if there.get(folder.name) == str(folder):
            return
        if folder.name in there:
            self._client.unload(folder.name)
        if folder != self._untuned():
            self._make_room([name for name in there if name not in (folder.name, self._untuned().name)])
        self._client.load(folder.name, str(folder))

    def _make_room(self, tuned: Sequence[str]) -> None:
        with self._lock:
            used = list(self._verified)
        oldest = sorted(tuned, key=lambda name: used.index(name) if name in used else -1)
        for name in oldest[: max(0, len(oldest) - self._max_adapters + 1)]:
            self._client.unload(name)
            with self._lock:
                self._verified.pop(name, None)

    def _untuned(self) -> Path:
        # Only here: it needs torch when it is made for the first time.
        from llactr_core.semantics.tuning.null_adapter import null_adapter

        return null_adapter(self._model, self._adapters)

    def _behind_head(self, voice: Voice, vectors: Vectors) -> Vectors:
        head = _head(voice.adapter) if voice.adapter else None
        if head is None:
            return vectors
        return head(vectors, normalise=default_template(resolve_model(self._model)).normalise)

    def _normalised(self, vectors: Vectors) -> Vectors:
        if not default_template(resolve_model(self._model)).normalise:
            return vectors
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        unit: Vectors = vectors / np.maximum(norms, np.float32(1e-12))
        return unit


@lru_cache(maxsize=4)
def _head(adapter: Path) -> Head | None:
    """An adapter's head; the folder is named by its content."""
    return Head.load(adapter)
