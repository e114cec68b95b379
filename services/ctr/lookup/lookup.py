"""Fills features in from online stores: what the caller gave stays, what a row lacks comes from its entities."""

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as TooLate
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import pyarrow as pa

from llactr_core.data.canonical import canonical, canonical_array
from llactr_core.data.fields import split_values
from llactr_core.errors import DataError
from llactr_core.schema import Schema
from services.ctr import metrics
from services.ctr.formats.decoding import Batch
from services.ctr.lookup.config import Entity, LookupFile
from services.ctr.lookup.stores import CONNECTIONS, KEYS_AT_ONCE, NO_ANSWER, REFUSED, Known, open_store
from services.ctr.serving.hooks import Filled
from services.shared.storage.breaker import Breaker

Answer: TypeAlias = Future[dict[str, Known]]
Plain: TypeAlias = Sequence[Mapping[str, Any]] | Mapping[str, Sequence[Any]]
Keys: TypeAlias = Sequence[str | None]
logger = logging.getLogger(__name__)


class _Source:
    """One kind of entity and its store, which has threads of its own: one that hangs holds up no other."""

    def __init__(self, entity: Entity, timeout_s: float) -> None:
        self.entity = entity.entity
        self._fields = entity.fields
        self._timeout_s = timeout_s
        self._store = open_store(entity, timeout_s)
        self._breaker = Breaker(f"the store of {entity.entity!r}")
        self._free = threading.BoundedSemaphore(CONNECTIONS)
        self._threads = ThreadPoolExecutor(CONNECTIONS, thread_name_prefix=f"lookup-{entity.entity}")

    def columns(self, schema: Schema) -> list[str]:
        return [c for c in schema.columns if c != self.entity and (self._fields is None or c in self._fields)]

    def ask(self, keys: Keys, columns: Sequence[str]) -> Answer | None:
        """The answer to come; None where there is nothing to ask, or nobody to."""
        distinct = [key for key in dict.fromkeys(keys) if key is not None]
        if not distinct or not self._breaker.may_try():
            return None
        if not self._free.acquire(blocking=False):
            return None
        answer = self._threads.submit(self._store.fetch, distinct, columns)
        answer.add_done_callback(lambda _: self._free.release())
        return answer

    def known(self, answer: Answer | None, began: float, keys: int) -> dict[str, Known]:
        """What the store says; nothing where it does not answer in time, which is longer for more than 1,000 keys."""
        if answer is None:
            return {}
        ends = began + self._timeout_s * max(1, -(-keys // KEYS_AT_ONCE))
        try:
            known = answer.result(max(0.0, ends - time.monotonic()))
        except (*NO_ANSWER, TooLate) as error:
            answer.cancel()
            self._breaker.failed(error)
        except REFUSED as error:
            logger.error("the store of %r refuses: %s", self.entity, error)
        else:
            self._breaker.answered()
            metrics.LOOKUPS.labels("answered").inc()
            return known
        metrics.LOOKUPS.labels("failed").inc()
        return {}

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._store.close()


@dataclass(frozen=True)
class _Question:
    source: _Source
    keys: Keys
    answer: Answer | None


class Lookup:
    """The lookups of all schemas that the file names; all stores of a request are asked at once.

    Raises (on construction):
        OptionError: a URL cannot be read or is not set.
    """

    def __init__(self, file: LookupFile) -> None:
        self._sources = {
            name: tuple(_Source(entity, file.timeout_ms / 1000) for entity in entities)
            for name, entities in file.schemas.items()
        }

    def start(self) -> None:
        """Nothing begins before the first request."""

    def close(self) -> None:
        """Wait for no store any more."""
        for sources in self._sources.values():
            for source in sources:
                source.close()

    def applies(self, schema: Schema) -> bool:
        """Whether rows of this schema are looked up at all."""
        return bool(self._sources.get(schema.name))

    def entities(self, schema: Schema) -> list[str]:
        """The columns that name the entities of rows of this schema."""
        return [source.entity for source in self._sources.get(schema.name, ())]

    def fill(self, schema: Schema, batch: Batch) -> Filled:
        """The batch with what the stores know of its entities, and the entities of each row that they do not have.

        A store that does not answer within the file's `timeout_ms` (as much again for each further thousand rows)
        leaves the batch as it is; its entities are reported as absent too.
        """
        features, began = batch.features, time.monotonic()
        absent: list[list[str]] = [[] for _ in range(batch.rows)]
        questions = []
        for source in self._sources.get(schema.name, ()):
            keys = _keys(features, source.entity, batch.rows)
            questions.append(_Question(source, keys, source.ask(keys, source.columns(schema))))
        for question in questions:
            source, keys = question.source, question.keys
            known = source.known(question.answer, began, batch.rows)
            for number, key in enumerate(keys):
                if key is not None and key not in known:
                    absent[number].append(f"{source.entity}={key}")
            if known:
                found = [known.get(key or "") for key in keys]
                features = _merged(schema, features, source.columns(schema), found)
        return Filled(replace(batch, given=features), absent)


def _keys(features: Plain | pa.Table, name: str, rows: int) -> Keys:
    """The canonical key of each row's entity, None where there is none."""
    if isinstance(features, pa.Table):
        return _texts(features.column(name)) if name in features.column_names else [None] * rows
    return [_key(value) for value in _values(features, name, rows)]


def _values(features: Plain, name: str, rows: int) -> Sequence[object]:
    if isinstance(features, Mapping):
        return features.get(name) or [None] * rows
    return [row.get(name) for row in features]


def _merged(
    schema: Schema, features: Plain | pa.Table, wanted: Sequence[str], known: Sequence[Known | None]
) -> Plain | pa.Table:
    """The features with what is known of each row's entity in the gaps of the wanted columns."""
    if isinstance(features, pa.Table):
        for name in wanted:
            features = _filled_column(schema, features, name, known)
        return features
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


def _filled_column(schema: Schema, table: pa.Table, name: str, known: Sequence[Known | None]) -> pa.Table:
    """The table with the gaps of one column filled; untouched where nothing is known for a gap."""
    place = table.schema.get_field_index(name)
    kind = table.schema.field(place).type if place >= 0 else pa.null()
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind)
    column = table.column(place) if place >= 0 else pa.nulls(table.num_rows)
    values = column.to_pylist() if is_list else _texts(column)
    gaps = [n for n, (v, k) in enumerate(zip(values, known, strict=True)) if k and name in k and _is_missing(v)]
    if not gaps:
        return table
    filled: list[object] = list(values)
    field = next(one for one in schema.fields if one.column == name)
    for number in gaps:
        parts = split_values(field, (known[number] or {})[name])
        filled[number] = parts if is_list else field.separator.join(parts)
    array = pa.array(filled, kind if is_list else pa.string())
    return table.append_column(name, array) if place < 0 else table.set_column(place, name, array)


def _texts(column: pa.ChunkedArray | pa.Array) -> list[str | None]:
    """The canonical values of a column; of a nested one none, which the encoder refuses with its row and field."""
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    try:
        return [text for chunk in chunks for text in canonical_array(chunk).to_pylist()]
    except (DataError, pa.ArrowException, ValueError, OverflowError):
        return [None] * len(column)


def _key(value: object) -> str | None:
    try:
        return canonical(value)
    except DataError:  # a nested value, which the encoder refuses with its row and field
        return None


def _is_missing(value: object) -> bool:
    return value is None or value == "" or value != value or value == []
