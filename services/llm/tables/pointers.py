"""Where every name points, in memory: a read asks no database. Redis tells of a change soon, a slow poll for sure."""

import logging
import threading
from collections.abc import Mapping

from sqlalchemy.exc import SQLAlchemyError

from llactr_core.errors import UnavailableError
from services.llm.tables.aliases import alias_pointers, revision_of, version_pointers
from services.llm.tables.pointer import CHANNEL, Pointer, Revision, Told, told_key
from services.shared.storage.cache import Cache
from services.shared.storage.storage import Storage

logger = logging.getLogger(__name__)

Names = Mapping[tuple[str, str], Pointer]


class Pointers:
    """The aliases and versions of all schemas as SQL had them last; while SQL is away they are served as they were.

    What is told through Redis is believed only while SQL does not answer, and only where it is later than what is here.
    """

    def __init__(self, storage: Storage, cache: Cache, poll_s: float) -> None:
        self._storage = storage
        self._cache = cache
        self._poll_s = poll_s
        self._names: Names = {}
        self._revision: Revision | None = None
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._poll, name="pointers", daemon=True)

    def start(self) -> None:
        """Read the pointers, and follow them until `close`."""
        self.follow()
        self._thread.start()
        self._cache.listen(CHANNEL, self._heard)

    def close(self) -> None:
        """Stop following."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(1.0)

    def find(self, schema: str, name: str) -> Pointer | None:
        """Where an alias or a version points, from memory alone."""
        return self._names.get((schema, name))

    def look(self) -> None:
        """Read the pointers anew where anything has changed.

        Raises:
            UnavailableError: the storage does not answer.
        """
        with self._lock, self._storage.reading() as session:
            revision = revision_of(session)  # first: what changes in between is seen the next time
            if revision == self._revision:
                return
            found = [*version_pointers(session), *alias_pointers(session)]
            self._names = {(schema, name): pointer for schema, name, pointer in found}
            self._revision = revision

    def follow(self) -> bool:
        """The same as `look`; whether SQL answered."""
        try:
            self.look()
        except UnavailableError:  # the storage has logged why
            return False
        except SQLAlchemyError:  # whatever it is, the next look may work
            logger.exception("the aliases could not be looked at; they stay where they were")
            return False
        return True

    def _poll(self) -> None:
        while not self._stop.wait(self._poll_s):
            self.follow()

    def _heard(self, schema: str) -> None:
        if not self.follow():
            self._believe(schema)

    def _believe(self, schema: str) -> None:
        [content] = self._cache.get_many([told_key(schema)])
        told = Told.parse(content).aliases
        with self._lock:
            newer = {
                (schema, alias): pointer
                for alias, pointer in told.items()
                if pointer.moved_at > self._moved_at(schema, alias)
            }
            versions = {(schema, pointer.version): pointer for pointer in newer.values()}
            self._names = {**versions, **self._names, **newer}
            self._revision = None  # SQL is read again as soon as it answers

    def _moved_at(self, schema: str, alias: str) -> float:
        known = self._names.get((schema, alias))
        return known.moved_at if known else 0.0
