"""Rows of JSON to cells, without an object for each value."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from llactr_core.data.values import scanning
from llactr_core.data.values.cells import Cells

_SPELT = re.compile(rb'["\\\x00-\x1f]')  # JSON spells these bytes otherwise
_BRACE = ord("{")
_ROWS = np.frombuffer(b'"rows"', np.uint8)


@dataclass(frozen=True, slots=True)
class JsonRows:
    """The cells [B, C] of B rows, and whether a row has other columns too."""

    cells: Cells
    has_others: bool


class JsonReader:
    """Finds the cells of some columns in JSON; other columns are passed over.

    Args:
        columns: their names, [C].
    """

    def __init__(self, columns: Sequence[str]) -> None:
        self.columns = tuple(columns)
        names = [name.encode("utf-8", "surrogatepass") for name in columns]
        self._is_plain = not any(_SPELT.search(name) for name in names)
        self._ends = np.concatenate([[0], np.cumsum([len(name) for name in names])]).astype(np.int64)
        self._names = np.frombuffer(b"".join(names) or b"\0", np.uint8)

    def rows(self, body: bytes, most: int) -> JsonRows | None:
        """The rows of {"rows": [{column: value}]}; None where that is for a JSON library to read.

        That is: other keys, escapes, exponents, lists, more than `most` rows, and whatever is wrong.
        """
        data, room = _data(body, most if self._is_plain else 0)
        cells, others = self._empty(room, data)
        room_of = (cells.starts, cells.lengths, cells.kinds, others)
        return _first(cells, others, scanning.rows_of_object(data, _ROWS, self._names, self._ends, *room_of), body)

    def lines(self, body: bytes, most: int) -> JsonRows | None:
        """The rows of lines that are a row {column: value} each; None as for `rows`."""
        data, room = _data(body, most if self._is_plain else 0)
        cells, others = self._empty(room, data)
        room_of = (cells.starts, cells.lengths, cells.kinds, others)
        return _first(cells, others, scanning.rows_of_lines(data, self._names, self._ends, *room_of), body)

    def _empty(self, room: int, data: npt.NDArray[np.uint8]) -> tuple[Cells, npt.NDArray[np.bool_]]:
        shape = (room, len(self._ends) - 1)
        cells = Cells(data, np.empty(shape, np.int64), np.zeros(shape, np.int32), np.zeros(shape, np.uint8))
        return cells, np.zeros(1, np.bool_)


def _data(body: bytes, most: int) -> tuple[npt.NDArray[np.uint8], int]:
    """The bytes, at least one, and the most rows that there may be to find."""
    data = np.frombuffer(body or b" ", np.uint8)
    return data, min(int(np.count_nonzero(data == _BRACE)), most)


def _first(cells: Cells, others: npt.NDArray[np.bool_], rows: int, body: bytes) -> JsonRows | None:
    if rows < 0 or not _is_utf8(body):
        return None
    found = Cells(cells.data, cells.starts[:rows], cells.lengths[:rows], cells.kinds[:rows])
    return JsonRows(found, bool(others[0]))


def _is_utf8(body: bytes) -> bool:
    if body.isascii():
        return True
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True
