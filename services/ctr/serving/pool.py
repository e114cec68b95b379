"""The loaded models: which bundle answers under which name, swapped atomically when an alias moves.

A background thread looks at the aliases in SQL. A new champion is loaded and verified beside the one that serves, and
only then takes its place; whatever fails, the last good model keeps serving. A request resolves its model once and
scores with what it got, so no answer mixes two versions. `Shelf` keeps what is loaded within a budget of memory.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from llactr_core.errors import BundleError, LlactrError, UnavailableError
from llactr_core.scorer import Scorer
from services.ctr import metrics
from services.ctr.registry.store import CHAMPION, PREVIOUS, Registry
from services.ctr.serving.names import Names, everything
from services.ctr.serving.renewing import Renewing
from services.ctr.serving.shelf import Key, Loaded, Shelf

__all__ = ["Loaded", "ModelPool"]

RETRY_S = 30.0
FIRST_LOOK_S = 30.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Failure:
    error: LlactrError
    retry_at: float


class ModelPool:
    """Holds the champions of all models and other versions, the last used of them within the budget.

    Args:
        budget: the most bytes that all loaded versions may take together; the default model's champion always stays,
            and a single champion may be larger.
        overlays: gives the loaded versions rows of values that appeared after training.
    """

    def __init__(
        self,
        registry: Registry,
        *,
        default_model: str | None = None,
        budget: int = 4096 * 2**20,
        poll_s: float = 0.2,
        load: Callable[[Path], Scorer] = Scorer.load,
        overlays: Renewing | None = None,
    ) -> None:
        self._registry = registry
        self._default = default_model
        self._load = load
        self._overlays = overlays
        self._poll_s = poll_s
        self._stop = threading.Event()
        self._looked = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="model-pool", daemon=True)
        self._names = Names()
        self._shelf = Shelf(budget)
        self._failed: dict[Key, _Failure] = {}
        self._load_lock = threading.Lock()
        self._refresh_lock = threading.Lock()

    def champions(self) -> Mapping[str, str]:
        """The version that serves as champion, by model name; verified, and loaded again where it made room."""
        return self._names.champions

    def loaded(self) -> list[Loaded]:
        """What is in memory, the last used last."""
        return self._shelf.content()

    def default_name(self, sees: Callable[[str], bool] = everything) -> str:
        """The model that a caller means who names none; see `Names.default`."""
        return self._names.default(self._default, sees)

    def default_champion(self, sees: Callable[[str], bool] = everything) -> str:
        """The same, where it has a champion; see `Names.default_champion`."""
        return self._names.default_champion(self._default, sees)

    def in_memory(self, reference: str) -> Loaded | None:
        """What `resolve` would return, if that takes neither SQL nor a load; None else. Never waits.

        Raises:
            InputError: the reference is not understood.
        """
        key = self._names.known(reference)
        return None if key is None else self._shelf.get(key)

    def champion(self, name: str | None = None) -> Loaded:
        """The champion of a model, or of the default model; loads it again where it had to make room.

        Raises:
            NoModelError: nothing can be scored yet.
            NotFoundError: no such model.
            InputError: no name was given and several models could be meant.
        """
        return self.resolve(self.default_champion() if name is None else name)

    def resolve(self, reference: str) -> Loaded:
        """The bundle that `name`, `name:version` or `name@alias` stands for: `find` and `take`."""
        return self.take(self.find(reference))

    def known(self, reference: str) -> Key | None:
        """What `find` would return, if that asks no database; None else. Never waits.

        Raises:
            InputError: the reference is not understood.
        """
        key = self._names.known(reference)
        return key if key is not None and (self._names.has(key) or self._shelf.get(key) is not None) else None

    def find(self, reference: str) -> Key:
        """Name and version that a reference stands for; asks the database for what the last look did not see.

        Raises:
            NotFoundError: no such model, version or alias.
            NoModelError: the model has no champion.
            InputError: the reference is not understood.
            UnavailableError: the database does not answer.
        """
        return self.known(reference) or self._names.registered(reference, self._registry)

    def take(self, key: Key) -> Loaded:
        """A registered version, from memory or loaded and verified; that takes a while, and of several callers one
        does it.

        Raises:
            BundleError: the bundle is refused by its verification.
            ConflictError: it takes more memory than there is for it.
            UnavailableError: it cannot be read at the moment.
        """
        return self._shelf.get(key) or self._bring(key, patient=True)

    def load(self, name: str, version: str) -> Loaded:
        """A registered version, from memory or loaded and verified now, also if that failed a moment ago.

        Raises:
            NotFoundError: it is not registered.
            BundleError: the bundle is refused by its verification, or is another version's.
            ConflictError: it takes more memory than there is for it.
            UnavailableError: it cannot be read at the moment.
        """
        key = (name, version)
        return self._shelf.get(key) or self._bring(self.find(f"{name}:{version}"), patient=False)

    def refresh(self) -> None:
        """Look at the aliases once and swap what moved. A champion that cannot be loaded leaves the old one serving."""
        with self._refresh_lock:
            aliases = self._registry.aliases()
            kept = {name: v for name, v in self._names.champions.items() if name in aliases}
            self._publish(Names(aliases, kept))
            for name, names in aliases.items():
                version = self._next(name, names, self._names.champions.get(name))
                if version is not None and version != self._names.champions.get(name):
                    self._publish(Names(aliases, {**self._names.champions, name: version}))
                    _log.info("model %r now serves version %s", name, version)
            if self._overlays is not None and self._overlays.is_due():
                self._renew(self._overlays)

    def start(self) -> None:
        """Look at the aliases every `poll_s` seconds from here on; return when the champions of the first look serve.

        A process that takes requests before would answer that there is no champion.
        """
        self._watcher.start()
        self._looked.wait(FIRST_LOOK_S)

    def close(self) -> None:
        """Look no more."""
        self._stop.set()
        self._watcher.join(2.0)

    def _watch(self) -> None:
        healthy = True
        while not self._stop.is_set():
            try:
                self.refresh()
                healthy = True
            except Exception:
                if healthy:
                    _log.exception("the registry cannot be read; the loaded models keep serving")
                healthy = False
            self._looked.set()
            self._stop.wait(self._poll_s)

    def _renew(self, overlays: Renewing) -> None:
        """Swap the loaded versions whose overlay has changed."""
        overlays.look()
        for loaded in self._shelf.content():
            renewed = overlays.renewed(loaded)
            if renewed is not loaded:
                self._shelf.replace(renewed)

    def _publish(self, names: Names) -> None:
        self._names = names
        try:
            name = self.default_champion()
        except LlactrError:  # none is meant, or it has no champion
            self._shelf.pin(None)
        else:
            self._shelf.pin((name, names.champions[name]))

    def _next(self, name: str, names: Mapping[str, str], current: str | None) -> str | None:
        """The version that should serve from here on: the wanted one if it loads, else the one that does.

        Where none does yet, as after a restart, the champion before is better than nothing.
        """
        wanted = names.get(CHAMPION)
        if wanted is None or wanted == current:
            return current
        if self._loads(name, wanted, f"version {current} keeps serving" if current else "it does not serve"):
            return wanted
        before = names.get(PREVIOUS)
        if current is None and before is not None and self._loads(name, before, "nothing serves"):
            return before
        return current

    def _loads(self, name: str, version: str, otherwise: str) -> bool:
        key = (name, version)
        if self._shelf.get(key) is not None:
            return True
        if self._failure(key) is not None:
            return False
        try:
            self._bring(key, patient=True)
        except LlactrError as error:
            _log.error("champion %s of %r is refused, %s: %s", version, name, otherwise, error)
            return False
        return True

    def _bring(self, key: Key, *, patient: bool) -> Loaded:
        """Load a version; one at a time, so that memory holds one more than the budget says at most."""
        if patient:
            self._check_failure(key)  # before the lock, which a slow load of another version may hold
        with self._load_lock:
            known = self._shelf.get(key)
            if known is not None:
                return known
            if patient:
                self._check_failure(key)
            try:
                loaded = self._verified(*key)
                self._shelf.put(loaded)
            except LlactrError as error:
                metrics.MODEL_LOADS.labels("refused").inc()
                self._note_failure(key, error)
                raise
            metrics.MODEL_LOADS.labels("loaded").inc()
            self._failed.pop(key, None)
            return loaded

    def _check_failure(self, key: Key) -> None:
        failure = self._failure(key)
        if failure is not None:
            raise failure.error

    def _note_failure(self, key: Key, error: LlactrError) -> None:
        now = time.monotonic()
        for old in [one for one, failure in self._failed.items() if failure.retry_at <= now]:
            del self._failed[old]
        self._failed[key] = _Failure(error, now + RETRY_S)

    def _verified(self, name: str, version: str) -> Loaded:
        try:
            with metrics.MODEL_LOAD_SECONDS.time():
                scorer = self._load(self._registry.bundle_path(version))
        except LlactrError:
            raise
        except Exception as error:  # a disk that cannot be read, memory that is not there: the next try may succeed
            _log.exception("version %s of %r could not be loaded", version, name)
            raise UnavailableError(
                f"version {version} of {name!r} could not be loaded ({type(error).__name__}); send the call again later"
            ) from error
        if scorer.version != version:
            raise BundleError(f"the bundle of version {version} of {name!r} says that it is {scorer.version}")
        loaded = Loaded(name, version, scorer)
        return loaded if self._overlays is None else self._overlays.renewed(loaded)

    def _failure(self, key: Key) -> _Failure | None:
        failure = self._failed.get(key)
        return failure if failure is not None and failure.retry_at > time.monotonic() else None
