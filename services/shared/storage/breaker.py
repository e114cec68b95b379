"""A server that failed is left alone for a moment, so that a dead one costs its callers next to nothing."""

import logging
import threading
import time

REST_S = 1.0

logger = logging.getLogger(__name__)


class Breaker:
    """Says whether a server may be asked. After a failure one caller a second tries, and the others go on without.

    Args:
        name: what the log calls the server.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._rests_until = 0.0
        self._failed = False

    def may_try(self) -> bool:
        """Whether this caller may ask the server."""
        if not self._failed:
            return True
        with self._lock:
            if time.monotonic() < self._rests_until:
                return False
            self._rests_until = time.monotonic() + REST_S
            return True

    def answered(self) -> None:
        """The server answered."""
        if not self._failed:
            return
        with self._lock:
            was_failed, self._failed = self._failed, False
        if was_failed:
            logger.info("%s answers again", self._name)

    def failed(self, error: BaseException) -> None:
        """The server did not answer."""
        with self._lock:
            was_failed, self._failed = self._failed, True
            self._rests_until = time.monotonic() + REST_S
        if not was_failed:
            logger.warning("%s does not answer, going on without: %s", self._name, type(error).__name__)
