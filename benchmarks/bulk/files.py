"""Parquet to ids, and `llactr score` from Parquet to Parquet: what both cost on one core, and their peak memory.

Each measurement runs in a process of its own, so that its peak memory is that of the work.
"""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.bench.memory import peak_bytes
from llactr_core.data.encoding import Encoder
from llactr_core.data.read import open_source
from llactr_core.schema import Schema
from services.cli.score import score


@dataclass(frozen=True)
class Cost:
    """Rows per CPU second, and the process's peak memory in bytes."""

    rows_per_second: float
    peak: int


def measure_ids(source: Path, schema: Schema, count: int) -> tuple[Cost, Cost]:
    """Parquet of `count` rows to ids int32 [count, K]: with known vocabularies, and with the pass that learns them."""
    _one_core()
    rows = open_source(source)
    columns = list(schema.columns)
    start = time.process_time()
    encoder = Encoder.fit(schema, rows.batches(columns))
    fitted = time.process_time()
    ids = np.empty((count, len(columns)), np.int32)
    end = 0
    for batch in rows.batches(columns):
        ids[end : end + batch.num_rows] = encoder.encode_batch(batch).ids
        end += batch.num_rows
    done = time.process_time()
    peak = peak_bytes()
    return Cost(count / (done - fitted), peak), Cost(count / (done - start), peak)


def measure_scoring(bundle: Path, source: Path, rows: int) -> Cost:
    """The command, without the start of the interpreter; the bundle is loaded within."""
    _one_core()
    out = source.with_name("scored.parquet")
    start = time.process_time()
    score(bundle, source, out)
    seconds = time.process_time() - start
    out.unlink()
    return Cost(rows / seconds, peak_bytes())


def _one_core() -> None:
    pa.set_cpu_count(1)
