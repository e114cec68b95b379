"""Texts to vectors: from memory, Redis or SQL where the vector is known, else computed, once, and kept."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from llactr_core.errors import TooLargeError, UnavailableError
from services.llm.engines.engine import Engine, Voice
from services.llm.settings import LlmSettings
from services.llm.vectors.flights import Flights
from services.llm.vectors.keeper import REDIS_PREFIX, Keeper, Work
from services.llm.vectors.memory import Memory
from services.llm.vectors.rows import VectorRows
from services.llm.vectors.vector import Reading, Vector, fits, unpack
from services.shared.storage.cache import Cache
from services.shared.storage.storage import Storage
from services.shared.telemetry.metrics import EMBEDDING_TEXTS

SQL_PAUSE_S = 1.0  # a database that did not answer is left alone for so long
Texts = Mapping[str, str]  # keys to texts
Look = Callable[[Texts], dict[str, Vector]]

logger = logging.getLogger(__name__)


class Vectors:
    """The vectors of texts. Neither Redis nor SQL is needed for an answer, nor an engine for a text that is known.

    Args:
        engine: computes what is not known.
        rows: the vectors in SQL.
        cache: Redis, or nothing.
        memory: the vectors in this process.
        keeper: writes to SQL and Redis what was found or computed.
    """

    def __init__(self, engine: Engine, rows: VectorRows, cache: Cache, memory: Memory, keeper: Keeper) -> None:
        self._engine = engine
        self._rows = rows
        self._cache = cache
        self._memory = memory
        self._keeper = keeper
        self._flights = Flights()
        self._sql_again_at = 0.0

    def remembered(self, reading: Reading, texts: Sequence[str]) -> list[Vector] | None:
        """The vectors of B texts where all of them are in memory, else None; never waits."""
        keys = [reading.key(text) for text in texts]
        found = self._memory.get_many(keys)
        if any(key not in found for key in keys):
            return None
        EMBEDDING_TEXTS.labels("memory").inc(len(found))
        return [found[key] for key in keys]

    def embed(self, reading: Reading, voice: Callable[[], Voice], texts: Sequence[str]) -> list[Vector]:
        """The vectors of B texts, in their order.

        Args:
            reading: what decides the vectors besides the texts.
            voice: gives what the engine can load; called only when something is to be computed.
            texts: B texts; equal ones are fetched once.

        Raises:
            TooLargeError: a text has more tokens than the model reads; `row` is its index.
            LlactrError: what `Engine.embed` or `voice` raises; calls that wait for the same texts get the same error.
        """
        keys = [reading.key(text) for text in texts]
        wanted = dict(zip(keys, texts, strict=True))
        led, others = self._flights.board(wanted)
        missing = {key: wanted[key] for key in led}
        found: dict[str, Vector] = {}
        try:
            for source, look in self._sources(reading, voice):
                fresh = look(missing) if missing else {}
                self._memory.put_many(fresh)
                self._flights.land(fresh)
                EMBEDDING_TEXTS.labels(source).inc(len(fresh))
                found |= fresh
                missing = {key: text for key, text in missing.items() if key not in fresh}
        except BaseException as error:
            self._flights.fail(missing, error)
            if isinstance(error, TooLargeError) and error.row is not None:
                row = keys.index(list(missing)[error.row])
                raise TooLargeError(error.detail, row=row, field="input") from error
            raise
        try:
            found |= {key: flight.result() for key, flight in others.items()}
        except TooLargeError:  # of another text, maybe, of the call that these texts were fetched for
            return self.embed(reading, voice, texts)
        EMBEDDING_TEXTS.labels("shared").inc(len(others))
        return [found[key] for key in keys]

    def flush(self) -> None:
        """Wait until everything found so far is kept."""
        self._keeper.flush()

    def close(self) -> None:
        """Keep what is still to be kept, for a few seconds at most."""
        self._keeper.close()

    def _sources(self, reading: Reading, voice: Callable[[], Voice]) -> Iterator[tuple[str, Look]]:
        yield "memory", self._memory.get_many
        yield "redis", lambda missing: self._from_redis(reading, missing)
        yield "sql", lambda missing: self._from_sql(reading, missing)
        yield "computed", lambda missing: self._compute(voice, missing)

    def _from_redis(self, reading: Reading, missing: Texts) -> dict[str, Vector]:
        found = {}
        for key, packed in zip(missing, self._cache.get_many([REDIS_PREFIX + key for key in missing]), strict=True):
            vector = unpack(key, packed, reading.width) if packed is not None else None
            if vector is not None:
                found[key] = vector
            elif packed is not None:
                logger.warning("a vector in Redis is damaged; it is fetched anew")
        return found

    def _from_sql(self, reading: Reading, missing: Texts) -> dict[str, Vector]:
        if time.monotonic() < self._sql_again_at:
            return {}
        try:
            rows, unused = self._rows.read(list(missing))
        except UnavailableError:
            logger.warning("known vectors cannot be looked up: the storage does not answer")
            self._sql_again_at = time.monotonic() + SQL_PAUSE_S
            return {}
        found = {key: vector for key, vector in rows.items() if fits(vector.content, reading.width)}
        if len(found) < len(rows):
            logger.warning("%d vectors in SQL have a wrong length; they are computed anew", len(rows) - len(found))
        if found:
            self._keeper.keep(Work(to_redis=found, used=unused))
        return found

    def _compute(self, voice: Callable[[], Voice], missing: Texts) -> dict[str, Vector]:
        embedded = self._engine.embed(voice(), list(missing.values()))
        rows = np.ascontiguousarray(embedded.vectors, dtype="<f4")  # [B, D]
        found = {
            key: Vector(row.tobytes(), tokens) for key, row, tokens in zip(missing, rows, embedded.tokens, strict=True)
        }
        self._keeper.keep(Work(to_sql=found, to_redis=found))
        return found


def open_vectors(engine: Engine, storage: Storage, cache: Cache, settings: LlmSettings) -> Vectors:
    """The vectors of one API process, which is to close them."""
    rows = VectorRows(storage, settings.cached_embeddings)
    keeper = Keeper(rows, cache, settings.redis_vector_s)
    return Vectors(engine, rows, cache, Memory(settings.remembered_vector_bytes), keeper)
