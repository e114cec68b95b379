"""Fills features in from online stores: what the caller gave stays, what a row lacks comes from its entities."""

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as TooLate
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import pyarrow as pa

from llactr_core.data.canonical import canonical
from llactr_core.errors import DataError
from llactr_core.schema import Schema
from services.ctr import metrics
from services.ctr.formats.decoding import Batch
from services.ctr.lookup.config import LookupFile
from services.ctr.lookup.stores import NO_ANSWER, EntityStore, Known, open_store
from services.ctr.serving.hooks import Filled
from services.shared.storage.breaker import Breaker

THREADS = 16

Answer: TypeAlias = Future[dict[str, Known]]
Plain: TypeAlias = Sequence[Mapping[str, Any]] | Mapping[str, Sequence[Any]]


@dataclass(frozen=True)
class _Source:
    entity: str
    fields: tuple[str, ...] | None
    store: EntityStore
    breaker: Breaker

    def columns(self, schema: Schema) -> list[str]:
        return [c for c in schema.columns if c != self.entity and (self.fields is None or c in self.fields)]


class Lookup:
    """The lookups of all schemas that the file names; all stores of a request are asked at once.

    Raises (on construction):
        OptionError: a URL cannot be read or is not set.
    """

    def __init__(self, file: LookupFile) -> None:
        self._timeout_s = file.timeout_ms / 1000
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="lookup")
        self._sources = {
            name: tuple(
                _Source(e.entity, e.fields, open_store(e, self._timeout_s), Breaker(f"the store of {e.entity!r}"))
                for e in entities
            )
            for name, entities in file.schemas.items()
        }

    def start(self) -> None:
        """Nothing begins before the first request."""

    def close(self) -> None:
        """Wait for no store any more."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        for sources in self._sources.values():
            for source in sources:
                source.store.close()

    def applies(self, schema: Schema) -> bool:
        """Whether rows of this schema are looked up at all."""
        return bool(self._sources.get(schema.name))

    def fill(self, schema: Schema, batch: Batch) -> Filled:
        """The batch with what the stores know of its entities, and the entities of each row that they do not have.

        A store that does not answer within the file's `timeout_ms` leaves the batch as it is; its entities are
        reported as absent too.
        """
        features = batch.features.to_pydict() if isinstance(batch.features, pa.Table) else batch.features
        absent: list[list[str]] = [[] for _ in range(batch.rows)]
        asked = []
        for source in self._sources.get(schema.name, ()):
            keys = [_key(value) for value in _values(features, source.entity, batch.rows)]
            asked.append((source, keys, self._ask(source, keys, source.columns(schema))))
        ends = time.monotonic() + self._timeout_s
        for source, keys, answer in asked:
            known = _known(source, answer, ends)
            for number, key in enumerate(keys):
                if key is not None and key not in known:
                    absent[number].append(f"{source.entity}={key}")
            features = _merged(features, source.columns(schema), [known.get(key or "") for key in keys])
        return Filled(replace(batch, features=features), absent)

    def _ask(
        self, source: _Source, keys: Sequence[str | None], columns: Sequence[str]
    ) -> Future[dict[str, Known]] | None:
        distinct = [key for key in dict.fromkeys(keys) if key is not None]
        if not distinct or not source.breaker.may_try():
            return None
        return self._threads.submit(source.store.fetch, distinct, columns)


def _known(source: _Source, answer: Answer | None, ends: float) -> dict[str, Known]:
    if answer is None:
        return {}
    try:
        known = answer.result(max(0.0, ends - time.monotonic()))
    except (*NO_ANSWER, TooLate) as error:
        answer.cancel()
        source.breaker.failed(error)
        metrics.LOOKUPS.labels("failed").inc()
        return {}
    source.breaker.answered()
    metrics.LOOKUPS.labels("answered").inc()
    return known


def _values(features: Plain, name: str, rows: int) -> Sequence[object]:
    if isinstance(features, Mapping):
        return features.get(name) or [None] * rows
    return [row.get(name) for row in features]


def _merged(features: Plain, wanted: Sequence[str], known: Sequence[Known | None]) -> Plain:
    """The features with what is known of each row's entity in the gaps of the wanted columns."""
    if isinstance(features, Mapping):
        gaps = {name: _values(features, name, len(known)) for name in wanted}
        return {
            **features,
            **{
                name: [k[name] if k and name in k and _is_missing(v) else v for v, k in zip(values, known, strict=True)]
                for name, values in gaps.items()
            },
        }
    return [
        {**row, **{name: k[name] for name in wanted if name in k and _is_missing(row.get(name))}} if k else row
        for row, k in zip(features, known, strict=True)
    ]


def _key(value: object) -> str | None:
    try:
        return canonical(value)
    except DataError:  # a nested value, which the encoder refuses with its row and field
        return None


def _is_missing(value: object) -> bool:
    return value is None or value == "" or value != value or value == []
