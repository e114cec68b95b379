"""UCI Bank Marketing: bank-additional-full.csv as published, or the prepared sample that ships with LLaCTR.

The split is random, 8:1:1 with seed 2026, because the file has no date; `duration`, known only after the call, is
dropped; full stops and blanks in column names become underscores; `y` becomes `label`.
"""

import re
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv as arrow_csv
from pyarrow import parquet

from llactr_core.datasets.files import find_file
from llactr_core.datasets.writing import NAMES, SCHEMA_FILE, PreparedDataset, table_batches, write_splits
from llactr_core.errors import DataError
from llactr_core.progress import Progress, ProgressCallback
from llactr_core.schema import Schema

WHERE = "https://archive.ics.uci.edu/dataset/222/bank+marketing"
FILE = "bank-additional-full.csv"
SEED = 2026


def prepare_bank(source: Path, out: Path, schema: Schema, progress: ProgressCallback) -> PreparedDataset:
    """Prepare Bank Marketing from the published file, its folder, or a folder that was prepared before.

    Raises:
        DataError: the file is missing or is not as published.
    """
    if all((source / f"{name}.parquet").is_file() for name in NAMES):
        return _copied(source, out, schema)
    path = find_file(source, [FILE, f"bank-additional/{FILE}"], WHERE)
    progress(Progress("reading the calls", 0.0))
    table = _read(path, schema)
    order = np.random.default_rng(SEED).permutation(table.num_rows)
    return write_splits(table_batches(table.take(pa.array(order))), table.num_rows, schema, out, progress)


def _read(path: Path, schema: Schema) -> pa.Table:
    try:
        table = arrow_csv.read_csv(path, parse_options=arrow_csv.ParseOptions(delimiter=";"))
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: not the file as it is published: {error}") from error
    table = table.rename_columns([re.sub(r"[.\s]+", "_", name.strip()) for name in table.column_names])
    absent = [name for name in (*schema.columns, "y") if name not in table.column_names]
    if absent:
        raise DataError(f"{path}: the columns {', '.join(absent)} are missing; the file wanted is {FILE} from {WHERE}")
    answers = table["y"].cast(pa.string())
    strange = pc.unique(answers.filter(pc.invert(pc.is_in(answers, pa.array(["yes", "no"]))))).to_pylist()
    if strange:
        raise DataError(f"{path}: column 'y' has {strange[:5]} beside yes and no; the file wanted is {FILE}")
    return table.select(schema.columns).append_column("label", pc.equal(answers, "yes").cast(pa.int8()))


def _copied(source: Path, out: Path, schema: Schema) -> PreparedDataset:
    """The files of a prepared folder, copied as they are."""
    out.mkdir(parents=True, exist_ok=True)
    rows = {}
    for name in NAMES:
        target = out / f"{name}.parquet"
        if target.resolve() != (source / f"{name}.parquet").resolve():
            shutil.copyfile(source / f"{name}.parquet", target)
        rows[name] = parquet.read_metadata(target).num_rows
    schema.save(out / SCHEMA_FILE)
    return PreparedDataset(out, out / SCHEMA_FILE, rows)
