"""How rows in SQL reach the loaded versions: each API process looks at the overlays' digests every few seconds."""

import logging
import threading
import time
from dataclasses import replace

from llactr_core.errors import LlactrError, UnavailableError
from llactr_core.overlay import Overlay
from services.ctr import metrics
from services.ctr.serving.shelf import Key, Loaded
from services.ctr.values.store import Head, OverlayStore

_log = logging.getLogger(__name__)


class Renewal:
    """Gives loaded versions the overlay that SQL has. Safe between threads.

    A row that is damaged, or does not fit its bundle, is not served: the version keeps what it has.
    """

    def __init__(self, store: OverlayStore, look_s: float) -> None:
        self._store = store
        self._look_s = look_s
        self._looked_at = -look_s
        self._heads: dict[Key, Head] = {}
        self._last: dict[Key, int] = {}  # the number of the last row of what is loaded
        self._refused: dict[Key, Head] = {}  # what could not be served
        self._lock = threading.Lock()

    def is_due(self) -> bool:
        """Whether it is time for another look."""
        return time.monotonic() - self._looked_at >= self._look_s

    def look(self) -> None:
        """Read where the overlays stand.

        Raises:
            UnavailableError: the database does not answer.
        """
        self._heads = self._store.heads()
        self._looked_at = time.monotonic()

    def renewed(self, loaded: Loaded) -> Loaded:
        """The version with its overlay as the last look found it; the same object where nothing changed, or where
        that cannot be read now.
        """
        with self._lock:
            return self._renewed(loaded)

    def _renewed(self, loaded: Loaded) -> Loaded:
        key = (loaded.name, loaded.version)
        head, present = self._heads.get(key), loaded.scorer.overlay
        if head is None:
            return loaded if present is None else replace(loaded, scorer=loaded.scorer.with_overlay(None))
        if (present is not None and present.digest == head.digest) or self._refused.get(key) == head:
            return loaded
        try:
            scorer = loaded.scorer.with_overlay(self._read(key, head, present))
        except UnavailableError:
            return loaded  # the next look tries again
        except LlactrError as error:
            _log.error("the overlay of version %s of %r is not served: %s", loaded.version, loaded.name, error)
            self._refused[key] = head
            metrics.OVERLAYS.labels("refused").inc()
            return loaded
        self._refused.pop(key, None)
        metrics.OVERLAYS.labels("loaded").inc()
        return replace(loaded, scorer=scorer)

    def _read(self, key: Key, head: Head, present: Overlay | None) -> Overlay:
        """What was added since, or else all of it: where rows were dropped, or the rows do not add up."""
        if present is not None:
            overlay = self._extended(key, present, self._last.get(key, 0))
            if overlay.digest == head.digest:
                return overlay
        overlay = self._extended(key, Overlay.of(key[1]), 0)
        if overlay.digest != head.digest and len(overlay.rows) <= head.rows:
            raise LlactrError(f"its {len(overlay.rows)} rows do not add up to its digest; DELETE it and add them anew")
        return overlay  # more rows than the look saw: others were added since

    def _extended(self, key: Key, overlay: Overlay, after: int) -> Overlay:
        stored = self._store.rows(key, after)
        if stored:
            self._last[key] = stored[-1].number
        return overlay.extended([one.row for one in stored])
