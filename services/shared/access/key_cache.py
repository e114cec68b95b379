"""What a service remembers of the keys that it has looked up, so that a known key costs no SQL."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace

from llactr_core.errors import UnavailableError
from services.shared.access.caller import Caller

KNOWN_KEYS = 10_000
UNKNOWN_KEYS = 1_000
LONGEST_S = 600.0


@dataclass(frozen=True)
class Remembered:
    """A looked-up key (None: there is no such key), when it was last looked up, and until when that is good."""

    caller: Caller | None
    seen: float
    good_until: float


class KeyCache:
    """Callers by the digest of their key, for `keep_s` seconds.

    Where the storage does not answer, a key that was known is trusted on, until 10 minutes after it was last seen.
    Unknown keys are kept apart from the known ones, so that guesses push nobody out; both are bounded.
    """

    def __init__(self, keep_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._keep_s = keep_s
        self._clock = clock
        self._known: OrderedDict[str, Remembered] = OrderedDict()
        self._unknown: OrderedDict[str, Remembered] = OrderedDict()
        self._generation = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """How many keys are remembered, the unknown ones too."""
        return len(self._known) + len(self._unknown)

    def known(self, digest: str) -> Caller | None:
        """The caller with this key, if that was looked up lately."""
        found = self._known.get(digest)
        return found.caller if found is not None and self._clock() < found.good_until else None

    def is_familiar(self, digest: str) -> bool:
        """Whether somebody had this key in the last 10 minutes."""
        found = self._known.get(digest)
        return found is not None and self._clock() < found.seen + LONGEST_S

    def caller(self, digest: str, look_up: Callable[[str], Caller | None]) -> Caller | None:
        """The caller with this key, from memory or else from `look_up`; None when there is no such key.

        Raises:
            UnavailableError: the storage does not answer, and the key is not known.
        """
        with self._lock:
            now, generation = self._clock(), self._generation
            found = self._known.get(digest) or self._unknown.get(digest)
            if found is not None and now < found.good_until:
                return found.caller
            if found is not None and found.caller is not None and now < found.seen + LONGEST_S:
                # While this thread asks the storage, which may take long, the others go on with what is known.
                self._known[digest] = replace(found, good_until=now + self._keep_s)
        try:
            caller = look_up(digest)
        except UnavailableError:
            return self.trusted(digest)
        self._put(digest, caller, generation)
        return caller

    def trusted(self, digest: str) -> Caller:
        """The caller who had this key lately, for when the storage does not answer; it is not asked again soon.

        Raises:
            UnavailableError: nobody had it in the last 10 minutes.
        """
        with self._lock:
            now, found = self._clock(), self._known.get(digest)
            if found is None or found.caller is None or now >= found.seen + LONGEST_S:
                raise UnavailableError(
                    "the storage does not answer, and the key is not known; send the call again later"
                )
            self._known[digest] = replace(found, good_until=now + self._keep_s)
            return found.caller

    def clear(self) -> None:
        """Forget everything, also what is being looked up right now."""
        with self._lock:
            self._generation += 1
            self._known.clear()
            self._unknown.clear()

    def _put(self, digest: str, caller: Caller | None, generation: int) -> None:
        with self._lock:
            self._known.pop(digest, None)
            self._unknown.pop(digest, None)
            if generation != self._generation:
                return
            now = self._clock()
            kept, most = (self._unknown, UNKNOWN_KEYS) if caller is None else (self._known, KNOWN_KEYS)
            kept[digest] = Remembered(caller, now, now + self._keep_s)
            while len(kept) > most:
                kept.popitem(last=False)
