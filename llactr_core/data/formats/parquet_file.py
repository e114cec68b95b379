"""Parquet files."""

from collections.abc import Iterator

import pyarrow as pa
from pyarrow import parquet

from llactr_core.data.formats.source import Source, arrow_input, unique_columns
from llactr_core.errors import DataError
from llactr_core.remote import size_of

READ_ROWS = 8_192


class ParquetSource(Source):
    """A Parquet file with plain columns and columns of lists of plain values."""

    def _read_columns(self) -> tuple[str, ...]:
        with self._open() as file:
            schema, rows = file.schema_arrow, file.metadata.num_rows
        columns = unique_columns(self.path, schema.names)
        for field in schema:
            if _is_nested(field.type):
                raise DataError(
                    f"{self.path}: column {field.name!r} is nested ({field.type}); only plain values and lists of "
                    "plain values can be read: flatten or drop it",
                    field=field.name,
                )
        if rows == 0 or not columns:
            raise DataError(f"{self.path}: the file is empty ({len(columns)} columns, {rows} rows); give some rows")
        return columns

    def _read_batches(self, columns: list[str]) -> Iterator[pa.RecordBatch]:
        with self._open() as file:
            try:
                for batch in file.iter_batches(READ_ROWS, columns=columns):
                    yield batch.select(columns)
            except (pa.ArrowException, OSError) as error:
                raise self._unreadable(error) from error

    def _open(self) -> parquet.ParquetFile:
        try:
            return parquet.ParquetFile(arrow_input(self.path))
        except (pa.ArrowException, OSError) as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: Exception) -> DataError:
        if size_of(self.path) == 0:
            return DataError(f"{self.path}: the file is empty")
        return DataError(f"{self.path}: not a readable Parquet file, perhaps cut off: {error}; write or copy it again")


def _is_nested(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _is_nested(kind.value_type)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return bool(pa.types.is_nested(kind.value_type))
    return bool(pa.types.is_nested(kind))
