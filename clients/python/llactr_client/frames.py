"""Dataframes on their way to the service: pandas, polars and pyarrow become Arrow streams. None is imported unasked."""

import importlib
from typing import Any, Protocol, runtime_checkable

from llactr_client.errors import ClientError


@runtime_checkable
class Frame(Protocol):
    """A pandas.DataFrame (2.2 or later), polars.DataFrame, pyarrow.Table or RecordBatch: whatever exports Arrow."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object: ...


def needed(package: str) -> Any:
    """The package, for what cannot be done without it.

    Raises:
        ClientError: it is not installed.
    """
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        raise ClientError(f"dataframes need {error.name}, which is not installed; pip install {error.name}") from error


def arrow_table(frame: Frame) -> Any:
    """The frame as a pyarrow.Table; pandas' index is left out, and its NaN becomes null.

    Raises:
        ClientError: pyarrow is not installed, or a column holds what Arrow cannot.
    """
    arrow = needed("pyarrow")
    try:
        if type(frame).__module__.partition(".")[0] == "pandas":
            return arrow.Table.from_pandas(frame, preserve_index=False)
        return arrow.table(frame)
    except arrow.ArrowException as error:
        raise ClientError(f"the frame cannot be sent: {error}; give each column values of one type") from error


def stream_of(table: Any) -> bytes:
    """The table as an Arrow IPC stream."""
    arrow = needed("pyarrow")
    sink = arrow.BufferOutputStream()
    with arrow.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())
