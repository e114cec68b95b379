"""Finding and reading the files that a dataset is published as."""

import gzip
from collections.abc import Iterator, Mapping, Sequence
from io import BufferedIOBase
from pathlib import Path

import pyarrow as pa
from pyarrow import csv as arrow_csv

from llactr_core.errors import DataError

BLOCK_BYTES = 8 * 2**20


def find_file(source: Path, names: Sequence[str], where_from: str) -> Path:
    """The first of `names` in the folder `source`, or `source` itself where it is a file.

    Raises:
        DataError: none of them is there; says where the dataset is published.
    """
    if source.is_file():
        return source
    for name in names:
        if (source / name).is_file():
            return source / name
    wanted = " or ".join(names)
    raise DataError(f"{source}: there is no {wanted}; download the dataset from {where_from} and unpack it there")


def open_bytes(path: Path) -> BufferedIOBase:
    """A file opened for reading bytes, uncompressed on the way where its name ends in .gz."""
    return gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")


def numbered_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """The lines of a file that are not blank, with their numbers from 1.

    Raises:
        DataError: the file is damaged or cut off.
    """
    try:
        with open_bytes(path) as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield number, line
    except (EOFError, OSError) as error:
        raise DataError(f"{path}: cannot be read to its end: {error}; download it again") from error


def delimited(
    path: Path, delimiter: str, types: Mapping[str, pa.DataType], *, header: bool, only: Sequence[str] | None = None
) -> Iterator[pa.RecordBatch]:
    """Stream a delimited text file, empty cells as null.

    Args:
        path: the file, perhaps with .gz.
        delimiter: one character between cells.
        types: the columns, in file order where there is no header.
        header: whether the first line names the columns.
        only: the columns wanted; all of `types` by default.

    Raises:
        DataError: a line has too few or too many cells, or a cell does not fit its column's type.
    """
    try:
        with arrow_csv.open_csv(
            path,
            read_options=arrow_csv.ReadOptions(
                block_size=BLOCK_BYTES, use_threads=False, column_names=None if header else list(types)
            ),
            parse_options=arrow_csv.ParseOptions(delimiter=delimiter, quote_char='"' if header else False),
            convert_options=arrow_csv.ConvertOptions(
                column_types=dict(types),
                include_columns=list(types if only is None else only),
                null_values=[""],
                strings_can_be_null=True,
            ),
        ) as reader:
            yield from (batch for batch in reader if batch.num_rows)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: not the file as it is published: {error}") from error
