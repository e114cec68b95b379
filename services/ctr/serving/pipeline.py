"""The way of a scoring request, whatever format it came in: decode, choose the model, fill in, score, look on.

Small requests go all the way on the event loop, which costs least; larger ones wait for a thread of their lane
(`services.ctr.serving.admission`). A request takes its model once, so no answer mixes versions.
"""

import asyncio
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TypeVar

import pyarrow as pa
from fastapi import Request
from prometheus_client import Counter, Histogram

from llactr_core.data.encoding import Encoded
from llactr_core.data.values.json_rows import JsonReader
from llactr_core.errors import RowError
from llactr_core.explainer import EVALUATIONS
from llactr_core.scorer import Scorer
from services.ctr import metrics
from services.ctr.formats.answers import RowDetail
from services.ctr.formats.decoding import Batch
from services.ctr.formats.rows import ROW_ID, routing_key, row_ids
from services.ctr.registry.store import CHAMPION
from services.ctr.serving.admission import Lane, Ticket
from services.ctr.serving.explaining import Explained, Explainers
from services.ctr.serving.finder import Finder, within
from services.ctr.serving.gate import ticket_of
from services.ctr.serving.hooks import Filling, Routing, Scored, Watching
from services.ctr.serving.pool import Loaded, ModelPool
from services.ctr.serving.together import Scores, Together
from services.ctr.settings import CtrSettings
from services.shared.access.auth import Guard
from services.shared.telemetry.tally import TALLY

T = TypeVar("T")
INLINE_BYTES = 256 * 1024  # larger bodies are parsed in a thread, so that the event loop stays free
FILLING_THREADS = 16  # they wait for stores; what computes has its lanes
DECODING = metrics.SCORE_STAGE_SECONDS.labels("decode")
_FILLING = metrics.SCORE_STAGE_SECONDS.labels("fill")
_SCORING = metrics.SCORE_STAGE_SECONDS.labels("score")


@dataclass(frozen=True)
class Asked:
    """A request to score, as a route read it.

    Args:
        model: NAME, NAME:VERSION or NAME@ALIAS; None for the default model's champion.
        decode: reads the body for a model with this reader; may raise what a caller should hear.
        size: bytes of the body.
        raw: scores without calibration; the watchers do not see them.
        routing_key: what an experiment tells callers apart by; goes before the body's.
        row_id: the column with the caller's names of the rows.
    """

    model: str | None
    decode: Callable[[JsonReader], Batch]
    size: int
    details: bool = False
    raw: bool = False
    routing_key: str | None = None
    row_id: str | None = None


@dataclass(frozen=True)
class Answered:
    """What the watchers saw too, and a detail for each row where they were asked for."""

    scored: Scored
    details: Sequence[RowDetail] | None


@dataclass(frozen=True)
class _Chosen:
    loaded: Loaded
    arm: str | None = None


@dataclass(frozen=True)
class _Filled:
    batch: Batch
    absent: Sequence[Sequence[str]] | None = None
    entities: Collection[str] = ()

    def absent_of(self, row: int) -> Sequence[str]:
        return () if self.absent is None else self.absent[row]


@dataclass(frozen=True)
class Read:
    """Rows as the model takes them, the caller's names of them, and a detail for each where they were asked for."""

    encoded: Encoded
    row_ids: Sequence[str | None] | None
    details: Sequence[RowDetail] | None


class ScoringPipeline:
    """Every way in that scores goes through `score`."""

    def __init__(
        self,
        pool: ModelPool,
        settings: CtrSettings,
        guard: Guard,
        *,
        routing: Routing | None = None,
        filling: Filling | None = None,
        watching: Sequence[Watching] = (),
    ) -> None:
        self.finder = Finder(pool, guard)
        self._routing = routing
        self._filling = filling
        self._watching = tuple(watching)
        self._explainers = Explainers()
        self.together = Together()
        self._filling_threads = ThreadPoolExecutor(FILLING_THREADS, thread_name_prefix="score-filling")

    def start(self) -> None:
        """Nothing begins before the first request."""

    def close(self) -> None:
        """Wait for no store and no model any more."""
        self._filling_threads.shutdown(wait=False, cancel_futures=True)
        self.finder.close()

    async def score(self, request: Request, asked: Asked) -> Answered:
        """Score a request that the gate has let in and whose key has been checked.

        Raises:
            LlactrError: the key is limited to other models; there is no such model; the body is refused; the request's
                lane is full; its deadline has passed.
            ClientDisconnect: nobody waits for the answer any more.
        """
        ticket = ticket_of(request)
        chosen, filled, lane = await self._prepare(request, ticket, asked)
        scorer, began = chosen.loaded.scorer, time.perf_counter()
        if lane is None:
            ticket.check()
            read = _read(scorer, filled, asked)
            scores = await self.together.probabilities(scorer, read.encoded, raw=asked.raw)
        else:
            read, scores = await lane.run(partial(_read_and_scored, scorer, filled, asked), ticket, request)
        scored = Scored(
            request.state.request_id, chosen.loaded, chosen.arm, filled.batch, scores, read.row_ids, asked.size
        )
        self.note(scored, time.perf_counter() - began, raw=asked.raw)
        return Answered(scored, read.details)

    def note(self, scored: Scored, seconds: float, *, raw: bool = False) -> None:
        """Count a scored request and show it to the watchers; `seconds` is what reading and scoring its rows took."""
        TALLY.observe(_SCORING, seconds)
        TALLY.add(_rows_of(scored.loaded.name), scored.batch.rows)
        if not raw:
            for watcher in self._watching:
                watcher.saw(scored)

    def is_plain(self, loaded: Loaded, asked: Asked) -> bool:
        """Whether this version answers for sure, with just what the caller gave."""
        is_open = asked.model is None or not _is_pinned(asked.model)
        if is_open and self._routing is not None and self._routing.deals(loaded.name):
            return False
        return self._filling is None or not self._filling.applies(loaded.scorer.schema)

    def read(self, scorer: Scorer, batch: Batch, asked: Asked) -> Read:
        """The same rows as the model takes them.

        Raises:
            LlactrError: they are refused.
        """
        return _read(scorer, _Filled(batch), asked)

    async def explain(self, request: Request, asked: Asked) -> Explained:
        """Explain a request in the same way, never on the event loop and seen by no watcher; `asked` says which model.

        Raises:
            ConflictError: the version was trained by a release that could not explain.
            LlactrError, ClientDisconnect: as `score`.
        """
        ticket = ticket_of(request)
        chosen, filled, lane = await self._prepare(request, ticket, asked, cost=EVALUATIONS)
        work = partial(self._explainers.explain, chosen.loaded, chosen.arm, filled.batch)
        return await (asyncio.to_thread(work) if lane is None else lane.run(work, ticket, request))

    async def _prepare(
        self, request: Request, ticket: Ticket, asked: Asked, cost: int = 1
    ) -> tuple[_Chosen, _Filled, Lane | None]:
        """Model, rows and lane of a request, each of whose rows costs as much as scoring `cost` rows."""
        target = await self.finder.model(request, asked.model, ticket)
        batch = await self._decode(request, ticket, asked, target.scorer.reader)
        lane = ticket.settle(batch.rows, cost)
        chosen = await self._choose(request, ticket, target, batch, asked)
        return chosen, await self._fill(chosen.loaded, batch, ticket), lane

    async def _decode(self, request: Request, ticket: Ticket, asked: Asked, reader: JsonReader) -> Batch:
        work = partial(_timed, DECODING, partial(asked.decode, reader))
        if asked.size <= INLINE_BYTES:
            return work()
        return await (asyncio.to_thread(work) if ticket.lane is None else ticket.lane.run(work, ticket, request))

    async def _choose(self, request: Request, ticket: Ticket, target: Loaded, batch: Batch, asked: Asked) -> _Chosen:
        """The arm of an experiment, where the request leaves it open; for one that cannot be loaded the champion."""
        if self._routing is None or (asked.model is not None and _is_pinned(asked.model)):
            return _Chosen(target)
        key = ""
        if self._routing.deals(target.name):
            key = asked.routing_key or batch.routing_key or routing_key(batch, target.scorer.schema)
        alias = self._routing.arm(target.name, key or request.state.request_id)
        if alias is None or alias == CHAMPION:
            return _Chosen(target, alias)
        arm = await self.finder.arm(target, alias, ticket)
        return _Chosen(target) if arm is None else _Chosen(arm, alias)

    async def _fill(self, loaded: Loaded, batch: Batch, ticket: Ticket) -> _Filled:
        schema = loaded.scorer.schema
        if self._filling is None or not batch.rows or not self._filling.applies(schema):
            return _Filled(batch)
        fill = partial(_timed, _FILLING, partial(self._filling.fill, schema, batch))
        filled = await within(ticket, self._filling_threads, fill)
        return _Filled(filled.batch, filled.absent, self._filling.entities(schema))


@lru_cache(maxsize=256)
def _rows_of(model: str) -> Counter:
    """The series of a model; to look it up again for each request takes longer than to count."""
    return metrics.SCORED_ROWS.labels(model)


def _is_pinned(reference: str) -> bool:
    return ":" in reference or "@" in reference


def _timed(stage: Histogram, work: Callable[[], T]) -> T:
    began = time.perf_counter()
    done = work()
    stage.observe(time.perf_counter() - began)
    return done


def _read(scorer: Scorer, filled: _Filled, asked: Asked) -> Read:
    """The ids of a request's rows, the caller's names of them, and their details where they are asked for."""
    batch = filled.batch
    columns = scorer.reader.columns
    own = asked.row_id or (None if ROW_ID in columns else ROW_ID)
    ids = None if own is None else row_ids(batch, own)
    try:
        encoded = scorer.encode(batch.of_columns(columns))
        reports = scorer.reports(batch.features, encoded) if asked.details else []
    except pa.ArrowException as error:
        raise RowError(f"a column of the request cannot be read: {error}; send text or numbers") from error
    ours = {own, *filled.entities}  # columns that the service reads, though the schema has none of them
    details = [
        RowDetail(r.missing, r.unseen, tuple(name for name in r.extra if name not in ours), filled.absent_of(number))
        for number, r in enumerate(reports)
    ]
    return Read(encoded, ids, details if asked.details else None)


def _read_and_scored(scorer: Scorer, filled: _Filled, asked: Asked) -> tuple[Read, Scores]:
    read = _read(scorer, filled, asked)
    return read, scorer.probabilities(read.encoded, raw=asked.raw)
