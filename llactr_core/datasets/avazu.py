"""Avazu click-through rate (Kaggle 2014): train.csv with a header: id, click, hour (YYMMDDHH), C1, banner_pos, ...

Rows are cut 8:1:1 in order of the hour. The published file has that order already and is streamed; one that has not is
first sorted into one temporary file per hour. `id` numbers the rows and is dropped; `hour` becomes a timestamp.
"""

import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet

from llactr_core.datasets.files import delimited, find_file
from llactr_core.datasets.writing import PreparedDataset, write_splits
from llactr_core.errors import DataError
from llactr_core.progress import Progress, ProgressCallback
from llactr_core.schema import Schema

WHERE = "https://www.kaggle.com/c/avazu-ctr-prediction"
MOST_HOURS = 1_000
_TEXT = (
    "C1,banner_pos,site_id,site_domain,site_category,app_id,app_domain,app_category,device_id,device_ip,device_model,"
    "device_type,device_conn_type,C14,C15,C16,C17,C18,C19,C20,C21"
)
TYPES: dict[str, pa.DataType] = {"click": pa.int8(), "hour": pa.string()}
TYPES |= dict.fromkeys(_TEXT.split(","), pa.string())


def prepare_avazu(source: Path, out: Path, schema: Schema, progress: ProgressCallback) -> PreparedDataset:
    """Prepare Avazu from the folder with train.csv, or from the file (.gz also does).

    Raises:
        DataError: the file is missing or is not as published.
    """
    path = find_file(source, ["train.csv", "train.csv.gz", "train.gz", "train"], WHERE)
    progress(Progress("counting the rows", 0.0))
    hours: Counter[str] = Counter()
    last, ordered = "", True
    for batch in delimited(path, ",", TYPES, header=True, only=["hour"]):
        runs = pc.run_end_encode(batch.column(0)).values.to_pylist()
        ordered = ordered and None not in runs and all(a <= b for a, b in zip([last, *runs], runs, strict=False))
        last = runs[-1] or ""
        hours.update({row["values"]: row["counts"] for row in batch.column(0).value_counts().to_pylist()})
    rows = hours.total()
    if ordered:
        return write_splits(map(_converted, delimited(path, ",", TYPES, header=True)), rows, schema, out, progress)
    with tempfile.TemporaryDirectory(prefix="avazu-", dir=_made(out)) as folder:
        return write_splits(_sorted(path, hours, Path(folder)), rows, schema, out, progress)


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _sorted(path: Path, hours: Counter[str], folder: Path) -> Iterator[pa.RecordBatch]:
    """The rows by hour, those of one hour in file order, by way of one temporary file per hour."""
    if None in hours or len(hours) > MOST_HOURS:
        raise DataError(f"{path}: column 'hour' is not as published: {len(hours)} different values, or empty cells")
    writers: dict[str, parquet.ParquetWriter] = {}
    try:
        for batch in delimited(path, ",", TYPES, header=True):
            for hour in batch.column("hour").unique().to_pylist():
                if hour not in writers:
                    writers[hour] = parquet.ParquetWriter(folder / f"{len(writers)}.parquet", batch.schema)
                writers[hour].write_batch(batch.filter(pc.equal(batch.column("hour"), hour)))
    finally:
        for writer in writers.values():
            writer.close()
    files = {hour: folder / f"{i}.parquet" for i, hour in enumerate(writers)}
    for hour in sorted(files):
        yield from map(_converted, parquet.ParquetFile(files[hour]).iter_batches())


def _converted(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch with `hour` as a timestamp: "14102100" -> 2014-10-21 00:00."""
    try:
        moments = pc.strptime(pc.binary_join_element_wise("20", batch.column("hour"), ""), "%Y%m%d%H", "s")
    except pa.ArrowInvalid as error:
        raise DataError(f"column 'hour' is not as published: {error}; expected YYMMDDHH such as 14102100") from error
    return batch.set_column(batch.schema.get_field_index("hour"), "hour", moments)
