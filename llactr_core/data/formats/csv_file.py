"""Comma-separated files. Every column is read as text: what "007" or "1e3" means is the schema's business."""

import csv
from collections.abc import Iterator
from io import TextIOWrapper
from itertools import islice

import pyarrow as pa
from pyarrow import csv as arrow_csv

from llactr_core.data.formats.source import Source, arrow_input, not_utf8, unique_columns
from llactr_core.errors import DataError

# The longest row. Arrow reads some 32 blocks ahead, so that 64 MiB of text are held.
BLOCK_BYTES = 2 * 2**20


class CsvSource(Source):
    """A CSV file: a header line, commas, double quotes (also around line breaks), UTF-8. Empty cells are null."""

    def _read_columns(self) -> tuple[str, ...]:
        head = self._head()
        if not head:
            raise DataError(f"{self.path}: the file is empty; expected a header line and rows")
        names = head[0]
        if len(names) == 1 and any(mark in names[0] for mark in ";\t|"):
            raise DataError(f"{self.path}: the header has no comma ({names[0][:80]!r}); separate columns by commas")
        for number, name in enumerate(names, start=1):
            if not name.strip():
                raise DataError(f"{self.path}: column {number} has no name; name or drop it (pandas: index=False)")
        columns = unique_columns(self.path, names)
        if len(head) == 1:
            raise DataError(f"{self.path}: there is a header but no row; give at least 10 rows")
        return columns

    def _head(self) -> list[list[str]]:
        """The header and the first row, as far as there are such."""
        try:
            with TextIOWrapper(self.path.open("rb"), encoding="utf-8-sig", newline="") as file:
                return list(islice((line for line in csv.reader(file) if line), 2))
        except UnicodeDecodeError as error:
            raise not_utf8(self.path) from error
        except csv.Error as error:
            raise DataError(f"{self.path}: cannot read the first lines as CSV ({error})") from error

    def _read_batches(self, columns: list[str]) -> Iterator[pa.RecordBatch]:
        try:
            with arrow_csv.open_csv(
                arrow_input(self.path),
                read_options=arrow_csv.ReadOptions(block_size=BLOCK_BYTES, use_threads=False),
                parse_options=arrow_csv.ParseOptions(newlines_in_values=True),
                convert_options=arrow_csv.ConvertOptions(
                    column_types=dict.fromkeys(self.columns, pa.string()),
                    include_columns=columns,
                    null_values=[""],
                    strings_can_be_null=True,
                    quoted_strings_can_be_null=True,
                ),
            ) as reader:
                yield from reader
        except pa.ArrowInvalid as error:
            raise self._refusal(error) from error

    def _refusal(self, error: pa.ArrowInvalid) -> DataError:
        if "UTF8" in str(error) or "utf-8" in str(error).lower():
            return not_utf8(self.path)
        return DataError(f"{self.path}: cannot read the file as CSV: {error}")
