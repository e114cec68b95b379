"""Opening a dataset file: CSV, JSONL or Parquet, told apart by its suffix."""

from llactr_core.data.formats.csv_file import CsvSource
from llactr_core.data.formats.jsonl_file import JsonlSource
from llactr_core.data.formats.parquet_file import ParquetSource
from llactr_core.data.formats.source import BATCH_ROWS, Source, no_such_column, require_column
from llactr_core.errors import DataError
from llactr_core.remote import Location, located

__all__ = ["BATCH_ROWS", "SUFFIXES", "Source", "no_such_column", "open_source", "require_column"]

_READERS: dict[str, type[Source]] = {
    ".parquet": ParquetSource,
    ".csv": CsvSource,
    ".jsonl": JsonlSource,
    ".ndjson": JsonlSource,
    ".jsonl.gz": JsonlSource,
}
SUFFIXES = tuple(_READERS)


def open_source(path: str | Location) -> Source:
    """Open a dataset file, under a local path or a URL that fsspec reads, and check that it has columns and rows.

    A CSV file has a header and is read as text; a JSONL file is read once to find its columns. A remote file is
    streamed, and nothing of it is kept: each pass over its rows reads it again.

    Raises:
        DataError: the file is missing, empty, has a header only, is not UTF-8, has two columns of one name, is nested,
            is no readable file of its format, or has an unknown suffix.
        OptionError: the URL is not plain, or its driver is not installed.
        UnavailableError: the store of a remote file does not answer; also later, while rows are read.
    """
    path = located(path)
    reader = _READERS.get("".join(path.suffixes[-2:]).lower()) or _READERS.get(path.suffix.lower())
    if reader is None:
        given = path.suffix or "no suffix"
        raise DataError(f"{path}: {given} is no format that can be read; allowed: {', '.join(SUFFIXES)}")
    if not path.is_file():
        what = "a folder, not a file" if path.is_dir() else "no such file"
        raise DataError(f"{path}: {what}; give the path of a dataset file")
    try:
        source = reader(path)
        if not source.columns:
            raise DataError(f"{path}: the file has no columns")
    except PermissionError as error:
        raise DataError(f"{path}: no permission to read the file") from error
    return source
