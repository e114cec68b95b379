"""The loaded models: which bundle answers under which name, swapped atomically when an alias moves.

A background thread looks at the aliases in SQL. A new champion is loaded and verified beside the one that serves, and
only then takes its place; whatever fails, the last good model keeps serving. A request resolves its model once and
scores with what it got, so no answer mixes two versions.
"""

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from llactr_core.errors import BundleError, InputError, LlactrError, NoModelError, NotFoundError
from llactr_core.scorer import Scorer
from services.ctr.registry.store import CHAMPION, Registry

RETRY_S = 30.0
DEFAULT = "default"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Loaded:
    """A verified bundle in memory, under the model's name and version."""

    name: str
    version: str
    scorer: Scorer


@dataclass(frozen=True)
class _Snapshot:
    aliases: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    champions: Mapping[str, Loaded] = field(default_factory=dict)


class ModelPool:
    """Holds the champions of all models and the last used other versions."""

    def __init__(
        self,
        registry: Registry,
        *,
        default_model: str | None = None,
        max_loaded: int = 8,
        poll_s: float = 0.2,
        load: Callable[[Path], Scorer] = Scorer.load,
    ) -> None:
        self._registry = registry
        self._default = default_model
        self._max_loaded = max_loaded
        self._load = load
        self._poll_s = poll_s
        self._stop = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="model-pool", daemon=True)
        self._snapshot = _Snapshot()
        self._others: OrderedDict[tuple[str, str], Loaded] = OrderedDict()
        self._failed: dict[tuple[str, str], float] = {}
        self._others_lock = threading.Lock()
        self._load_lock = threading.Lock()
        self._refresh_lock = threading.Lock()

    def champions(self) -> Mapping[str, Loaded]:
        """The champion that serves, by model name."""
        return MappingProxyType(dict(self._snapshot.champions))

    def champion(self, name: str | None = None) -> Loaded:
        """The champion of a model, or of the default model; never waits for a load.

        Raises:
            NoModelError: nothing can be scored yet.
            NotFoundError: no such model.
            InputError: no name was given and several models could be meant.
        """
        snapshot = self._snapshot
        found = snapshot.champions.get(self._default_name(snapshot) if name is None else name)
        if found is not None:
            return found
        if name is None or name in snapshot.aliases:
            raise NoModelError(_no_champion(name or self._default or DEFAULT))
        self._registry.versions(name)  # raises NotFoundError, naming what is registered
        raise NoModelError(_no_champion(name))

    def resolve(self, reference: str) -> Loaded:
        """The bundle that `name`, `name:version` or `name@alias` stands for; loads it where needed.

        Raises:
            NotFoundError: no such model, version or alias.
            BundleError: the bundle is refused by its verification.
        """
        name, separator, wanted = _split(reference)
        if not separator or (separator == "@" and wanted == CHAMPION):
            return self.champion(name)
        if separator == "@":
            aliases = self._registry.aliases().get(name, {})
            if wanted not in aliases:
                self._registry.versions(name)
                raise NotFoundError(f"model {name!r} has no alias {wanted!r}; it has: {', '.join(sorted(aliases))}")
            wanted = aliases[wanted]
        return self.load(name, wanted)

    def load(self, name: str, version: str) -> Loaded:
        """A registered version, from memory or loaded and verified now.

        Raises:
            NotFoundError: it is not registered.
            BundleError: the bundle is refused by its verification, or is another version's.
        """
        champion = self._snapshot.champions.get(name)
        if champion is not None and champion.version == version:
            return champion
        with self._load_lock:
            known = self._recall(name, version)
            if known is not None:
                return known
            self._registry.get(name, version)
            scorer = self._load(self._registry.bundle_path(version))
            if scorer.version != version:
                raise BundleError(f"the bundle of version {version} of {name!r} says that it is {scorer.version}")
            loaded = Loaded(name, version, scorer)
            self._remember(loaded)
            return loaded

    def refresh(self) -> None:
        """Look at the aliases once and swap what moved. A champion that cannot be loaded leaves the old one serving."""
        with self._refresh_lock:
            aliases = self._registry.aliases()
            before = self._snapshot.champions
            champions: dict[str, Loaded] = {}
            for name, names in aliases.items():
                loaded = self._next(name, names.get(CHAMPION), before.get(name))
                if loaded is not None:
                    champions[name] = loaded
            self._snapshot = _Snapshot(aliases, champions)
            for name, old in before.items():
                if champions.get(name) is not old:
                    self._remember(old)  # so that a roll back is immediate

    def start(self) -> None:
        """Look at the aliases every `poll_s` seconds from here on."""
        self._watcher.start()

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
            self._stop.wait(self._poll_s)

    def _next(self, name: str, wanted: str | None, current: Loaded | None) -> Loaded | None:
        if wanted is None or (current is not None and current.version == wanted):
            return current
        key = (name, wanted)
        if time.monotonic() < self._failed.get(key, 0.0):
            return current
        try:
            loaded = self.load(name, wanted)
        except Exception as error:
            self._failed[key] = time.monotonic() + RETRY_S
            serving = f"version {current.version} keeps serving" if current else "nothing serves"
            _log.error(
                "champion %s of %r is refused, %s: %s",
                wanted,
                name,
                serving,
                error,
                exc_info=not isinstance(error, LlactrError),
            )
            return current
        self._failed.pop(key, None)
        _log.info("model %r now serves version %s", name, wanted)
        return loaded

    def _default_name(self, snapshot: _Snapshot) -> str:
        if self._default is not None:
            return self._default
        names = sorted(snapshot.champions)
        if len(names) == 1:
            return names[0]
        if names and DEFAULT not in names:
            raise InputError(f"several models can score ({', '.join(names)}); say which with ?model=NAME")
        return DEFAULT

    def _recall(self, name: str, version: str) -> Loaded | None:
        with self._others_lock:
            found = self._others.get((name, version))
            if found is not None:
                self._others.move_to_end((name, version))
            return found

    def _remember(self, loaded: Loaded) -> None:
        with self._others_lock:
            self._others[(loaded.name, loaded.version)] = loaded
            self._others.move_to_end((loaded.name, loaded.version))
            while len(self._others) > self._max_loaded:
                self._others.popitem(last=False)


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
