"""The loaded models: which bundle answers under which name, swapped atomically when an alias moves.

A background thread looks at the aliases in SQL. A new champion is loaded and verified beside the one that serves, and
only then takes its place; whatever fails, the last good model keeps serving. A request resolves its model once and
scores with what it got, so no answer mixes two versions. `Shelf` keeps what is loaded within a budget of memory.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from llactr_core.errors import (
    BundleError,
    InputError,
    LlactrError,
    NoModelError,
    NotFoundError,
    UnavailableError,
)
from llactr_core.scorer import Scorer
from services.ctr import metrics
from services.ctr.registry.store import CHAMPION, PREVIOUS, Registry
from services.ctr.serving.shelf import Key, Loaded, Shelf

__all__ = ["Loaded", "ModelPool"]

RETRY_S = 30.0
FIRST_LOOK_S = 30.0
DEFAULT = "default"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Snapshot:
    """What the aliases said at the last look, and the version of each model that serves as its champion."""

    aliases: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    champions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Failure:
    error: LlactrError
    retry_at: float


class ModelPool:
    """Holds the champions of all models and other versions, the last used of them within the budget.

    Args:
        budget: the most bytes that all loaded versions may take together; the default model's champion always stays,
            and a single champion may be larger.
    """

    def __init__(
        self,
        registry: Registry,
        *,
        default_model: str | None = None,
        budget: int = 4096 * 2**20,
        poll_s: float = 0.2,
        load: Callable[[Path], Scorer] = Scorer.load,
    ) -> None:
        self._registry = registry
        self._default = default_model
        self._load = load
        self._poll_s = poll_s
        self._stop = threading.Event()
        self._looked = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="model-pool", daemon=True)
        self._snapshot = _Snapshot()
        self._shelf = Shelf(budget)
        self._failed: dict[Key, _Failure] = {}
        self._load_lock = threading.Lock()
        self._refresh_lock = threading.Lock()

    def champions(self) -> Mapping[str, str]:
        """The version that serves as champion, by model name; verified, and loaded again where it made room."""
        return self._snapshot.champions

    def loaded(self) -> list[Loaded]:
        """What is in memory, the last used last."""
        return self._shelf.content()

    def in_memory(self, reference: str | None) -> Loaded | None:
        """What `resolve` would return, if that takes neither SQL nor a load; None else. Never waits.

        Raises:
            NoModelError: nothing can be scored yet.
            InputError: the reference is not understood, or is missing and several models could be meant.
        """
        key = self._known_key(reference)
        return None if key is None else self._shelf.get(key)

    def champion(self, name: str | None = None) -> Loaded:
        """The champion of a model, or of the default model; loads it again where it had to make room.

        Raises:
            NoModelError: nothing can be scored yet.
            NotFoundError: no such model.
            InputError: no name was given and several models could be meant.
        """
        return self.resolve(name)

    def default_name(self) -> str:
        """The model that is meant where none is named.

        Raises:
            InputError: several could be meant.
        """
        snapshot = self._snapshot
        name = _default_name(self._default, snapshot)
        if name is None:
            raise InputError(
                f"several models can score ({', '.join(sorted(snapshot.champions))}); say which with ?model=NAME"
            )
        return name

    def resolve(self, reference: str | None) -> Loaded:
        """The bundle that `name`, `name:version` or `name@alias` stands for; None is the default model's champion.

        What is not in memory is loaded and verified, which takes a while; of several callers one does it.

        Raises:
            NotFoundError: no such model, version or alias.
            NoModelError: the model has no champion.
            BundleError: the bundle is refused by its verification.
            ConflictError: it takes more memory than there is for it.
            UnavailableError: it cannot be read at the moment.
        """
        key = self._known_key(reference) or self._registered_key(reference)
        return self._shelf.get(key) or self._bring(key, patient=True)

    def load(self, name: str, version: str) -> Loaded:
        """A registered version, from memory or loaded and verified now, also if that failed a moment ago.

        Raises:
            NotFoundError: it is not registered.
            BundleError: the bundle is refused by its verification, or is another version's.
            ConflictError: it takes more memory than there is for it.
            UnavailableError: it cannot be read at the moment.
        """
        return self._shelf.get((name, version)) or self._bring((name, version), patient=False)

    def refresh(self) -> None:
        """Look at the aliases once and swap what moved. A champion that cannot be loaded leaves the old one serving."""
        with self._refresh_lock:
            aliases = self._registry.aliases()
            kept = {name: v for name, v in self._snapshot.champions.items() if name in aliases}
            self._publish(_Snapshot(aliases, kept))
            for name, names in aliases.items():
                version = self._next(name, names, self._snapshot.champions.get(name))
                if version is not None and version != self._snapshot.champions.get(name):
                    self._publish(_Snapshot(aliases, {**self._snapshot.champions, name: version}))
                    _log.info("model %r now serves version %s", name, version)

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

    def _publish(self, snapshot: _Snapshot) -> None:
        self._snapshot = snapshot
        name = _default_name(self._default, snapshot)
        self._shelf.pin(None if name is None or name not in snapshot.champions else (name, snapshot.champions[name]))

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
        with self._load_lock:
            known = self._shelf.get(key)
            if known is not None:
                return known
            failure = self._failure(key)
            if failure is not None and patient:
                raise failure.error
            self._require_registered(*key)
            try:
                loaded = self._verified(*key)
                self._shelf.put(loaded)
            except LlactrError as error:
                metrics.MODEL_LOADS.labels("refused").inc()
                self._failed[key] = _Failure(error, time.monotonic() + RETRY_S)
                raise
            metrics.MODEL_LOADS.labels("loaded").inc()
            self._failed.pop(key, None)
            return loaded

    def _require_registered(self, name: str, version: str) -> None:
        if version in self._snapshot.aliases.get(name, {}).values():  # known without SQL
            return
        if self._registry.get(name, version).version != version:
            raise NotFoundError(f"{version!r} is an alias of model {name!r}; write {name}@{version}")

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
        return Loaded(name, version, scorer)

    def _failure(self, key: Key) -> _Failure | None:
        now = time.monotonic()
        for old in [one for one, failure in self._failed.items() if failure.retry_at <= now]:
            self._failed.pop(old, None)
        return self._failed.get(key)

    def _known_key(self, reference: str | None) -> Key | None:
        """Name and version as the last look at the aliases has them; None where only the registry can tell."""
        snapshot = self._snapshot
        if reference is None:
            name = self.default_name()
            if name not in snapshot.champions:
                raise NoModelError(_no_champion(name))
            return name, snapshot.champions[name]
        name, separator, wanted = _split(reference)
        if separator == ":":
            return name, wanted
        if not separator or wanted == CHAMPION:
            version = snapshot.champions.get(name)
        else:
            version = snapshot.aliases.get(name, {}).get(wanted)
        return None if version is None else (name, version)

    def _registered_key(self, reference: str | None) -> Key:
        """The same from the registry, for what the last look did not see."""
        name, separator, wanted = _split(reference or DEFAULT)
        if not separator or wanted == CHAMPION:
            if name not in self._snapshot.aliases:
                self._registry.versions(name)  # raises NotFoundError, naming what is registered
            raise NoModelError(_no_champion(name))
        aliases = self._registry.aliases().get(name, {})
        if wanted not in aliases:
            self._registry.versions(name)
            raise NotFoundError(f"model {name!r} has no alias {wanted!r}; it has: {', '.join(sorted(aliases))}")
        return name, aliases[wanted]


def _default_name(given: str | None, snapshot: _Snapshot) -> str | None:
    """The model that scores when a request names none; None where several could be meant."""
    if given is not None:
        return given
    names = list(snapshot.champions)
    if len(names) == 1:
        return names[0]
    return None if names and DEFAULT not in names else DEFAULT


def _split(reference: str) -> tuple[str, str, str]:
    for separator in (":", "@"):
        name, found, wanted = reference.partition(separator)
        if found:
            if not name or not wanted:
                raise InputError(f"model {reference!r} is not understood; give NAME, NAME:VERSION or NAME@ALIAS")
            return name, found, wanted
    return reference, "", ""


def _no_champion(name: str) -> str:
    return (
        f"model {name!r} has no champion to score with; train one (`make run`, or POST /v1/admin/models/{name}/train) "
        f"or promote a version (PUT /v1/admin/models/{name}/aliases/champion)"
    )
