"""Values that scored rows bring and no model has seen, added in the background; off by default.

No request waits for it: what there is no room for is not looked at. Each API process counts on its own.
"""

import logging
import threading
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Iterator

import numpy as np

from llactr_core.data.canonical import canonical
from llactr_core.data.fields import split_values
from llactr_core.errors import DataError, LlactrError, UnavailableError
from llactr_core.schema import Field, Kind
from services.ctr import metrics
from services.ctr.formats.rows import values_of
from services.ctr.serving.hooks import Scored
from services.ctr.serving.shelf import Key, Loaded
from services.ctr.settings import CtrSettings
from services.ctr.values.adding import Adder

ROUND_S = 1.0
WAITING = 256  # requests
ROWS = 512  # of a request that are looked at
COUNTED = 50_000  # values, of all versions
BACKGROUND = "background"
CLOSE_S = 2.0
RETRY_S = 30.0
MINUTE_S = 60.0

_log = logging.getLogger(__name__)

Sighting = tuple[Key, str, str]  # version, field, value


class Sightings:
    """How often values were seen, the longest unseen ones forgotten first."""

    def __init__(self, most: int = COUNTED) -> None:
        self._most = most
        self._counts: OrderedDict[Sighting, int] = OrderedDict()

    def add(self, sighting: Sighting) -> int:
        """Count one; how many there were."""
        count = self._counts.pop(sighting, 0) + 1
        self._counts[sighting] = count
        if len(self._counts) > self._most:
            self._counts.popitem(last=False)
        return count

    def forget(self, sighting: Sighting) -> None:
        """Begin anew with a value."""
        self._counts.pop(sighting, None)


class Newcomers:
    """Looks on, counts unseen values, and adds those that were seen often enough: at most so many per field a minute.

    Args:
        adder: adds values to overlays.
        settings: `newcomer_sightings` and `newcomers_per_minute`.
    """

    def __init__(self, adder: Adder, settings: CtrSettings) -> None:
        self._adder = adder
        self._often = settings.newcomer_sightings
        self._per_minute = settings.newcomers_per_minute
        self._waiting: deque[Scored] = deque()
        self._sightings = Sightings()
        self._due: dict[Key, dict[str, dict[str, None]]] = {}
        self._taken: Counter[tuple[Key, str]] = Counter()
        self._minute = 0.0
        self._rest_until = 0.0
        self._fields: OrderedDict[Key, frozenset[str]] = OrderedDict()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="newcomers", daemon=True)

    def saw(self, scored: Scored) -> None:
        """Take note of an answered request; returns at once."""
        if len(self._waiting) < WAITING:
            self._waiting.append(scored)
        else:
            metrics.NEWCOMERS_DROPPED.inc()

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """Look no more."""
        self._stop.set()
        self._thread.join(CLOSE_S)

    def _work(self) -> None:
        while not self._stop.wait(ROUND_S):
            try:
                self.turn()
            except Exception:
                _log.exception("new values could not be looked for this time")

    def turn(self) -> None:
        """Count what waits, and add what was seen often enough."""
        while self._waiting:
            self._count(self._waiting.popleft())
        now = time.monotonic()
        if now - self._minute >= MINUTE_S:
            self._minute = now
            self._taken.clear()
        if now >= self._rest_until:
            for key in list(self._due):
                self._add(key)

    def _count(self, scored: Scored) -> None:
        key = (scored.loaded.name, scored.loaded.version)
        for field, value in unseen_values(scored, self._fields_of(key)):
            if self._sightings.add((key, field, value)) >= self._often:
                self._due.setdefault(key, {}).setdefault(field, {})[value] = None

    def _fields_of(self, key: Key) -> frozenset[str]:
        if key not in self._fields:
            self._fields[key] = frozenset(self._adder.fields(*key))
            if len(self._fields) > WAITING:
                self._fields.popitem(last=False)
        return self._fields[key]

    def _add(self, key: Key) -> None:
        values: dict[str, list[str]] = {}
        for field, due in self._due[key].items():
            room = self._per_minute - self._taken[(key, field)]
            chosen = list(due)[: max(0, room)]
            if chosen:
                values[field] = chosen
        if not values:
            return
        try:
            added = self._adder.add(*key, values, BACKGROUND)
        except UnavailableError as error:
            self._rest_until = time.monotonic() + RETRY_S
            _log.warning("new values wait: %s", error)
            return
        except LlactrError as error:
            del self._due[key]
            _log.warning("new values of version %s of %r are left out: %s", key[1], key[0], error)
            return
        for field, some in values.items():
            self._taken[(key, field)] += len(added.fields[field].added)
            for value in some:
                del self._due[key][field][value]
                self._sightings.forget((key, field, value))


def unseen_values(scored: Scored, fields: frozenset[str]) -> Iterator[tuple[str, str]]:
    """(field, canonical value) of the first rows of a request, wherever a value of these fields has no row."""
    if not fields:
        return
    loaded, batch = scored.loaded, scored.batch
    chosen = [
        (k, field) for k, field in enumerate(loaded.scorer.schema.fields) if field.name in fields and field.part is None
    ]
    encoder = loaded.scorer.encoder
    _, unseen = encoder.flags(loaded.scorer.encode(batch.of_columns(loaded.scorer.reader.columns)))
    for k, field in chosen:
        rows = np.flatnonzero(unseen[:ROWS, k]).tolist()
        values = values_of(batch.features, field.column) if rows else None
        if values is not None:
            for row in rows:
                yield from _lacking(loaded, field, values[row])


def _lacking(loaded: Loaded, field: Field, value: object) -> Iterator[tuple[str, str]]:
    try:
        texts = split_values(field, value) if field.kind == Kind.MULTI_VALUED else [canonical(value) or ""]
    except DataError:
        return
    given = [text for text in texts if text]
    has = loaded.scorer.encoder.has(field.name, given)
    for text, is_known in zip(given, has, strict=True):
        if not is_known:
            yield field.name, text
