"""Criteo display advertising (Kaggle 2014): train.txt, tab-separated, no header: label, I1-I13, C1-C26.

The file is in order of time and stays so; rows are counted first and then streamed, so that memory does not grow.
"""

from pathlib import Path

import pyarrow as pa

from llactr_core.datasets.files import delimited, find_file
from llactr_core.datasets.writing import PreparedDataset, write_splits
from llactr_core.progress import Progress, ProgressCallback
from llactr_core.schema import Schema

WHERE = "https://www.kaggle.com/c/criteo-display-ad-challenge"
TYPES: dict[str, pa.DataType] = {"label": pa.int8()}
TYPES |= {f"I{i}": pa.int64() for i in range(1, 14)}
TYPES |= {f"C{i}": pa.string() for i in range(1, 27)}


def prepare_criteo(source: Path, out: Path, schema: Schema, progress: ProgressCallback) -> PreparedDataset:
    """Prepare Criteo from the folder with train.txt, or from the file.

    Raises:
        DataError: the file is missing or is not as published.
    """
    path = find_file(source, ["train.txt", "train.txt.gz"], WHERE)
    progress(Progress("counting the rows", 0.0))
    rows = sum(batch.num_rows for batch in delimited(path, "\t", TYPES, header=False, only=["label"]))
    return write_splits(delimited(path, "\t", TYPES, header=False), rows, schema, out, progress)
