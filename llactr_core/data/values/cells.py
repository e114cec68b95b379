"""Cells: values of rows as pieces of one buffer, whatever form they came in."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from llactr_core.data.values.hashing import LITERAL, MISSING, NUMBER, TEXT

LONGEST = 2**31 - 1  # bytes of a cell
_NOTHING = np.zeros(1, np.uint8)


@dataclass(frozen=True, slots=True)
class Cells:
    """B rows of C columns.

    Args:
        data: the buffer, uint8 [N], N >= 1.
        starts: where each cell begins, int64 [B, C].
        lengths: its bytes, int32 [B, C].
        kinds: uint8 [B, C]: missing; a text (the empty one is missing too); a whole number as its canonical text;
            another number as JSON writes it; or `true` or `false`.
    """

    data: npt.NDArray[np.uint8]
    starts: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int32]
    kinds: npt.NDArray[np.uint8]

    def __len__(self) -> int:
        """The number of rows B."""
        return len(self.starts)

    @classmethod
    def of_texts(cls, texts: Sequence[str | None]) -> Self:
        """Cells [B, 1] of texts; None is missing."""
        joined = "".join([text or "" for text in texts])
        if joined.isascii():
            pieces: Sequence[str | bytes | None] = texts
            data = joined.encode()
        else:
            pieces = [(text or "").encode("utf-8", "surrogatepass") for text in texts]
            data = b"".join(pieces)  # type: ignore[arg-type]
        lengths = np.fromiter((len(piece or "") for piece in pieces), np.int32, len(pieces))
        starts = np.zeros(len(pieces), np.int64)
        np.cumsum(lengths[:-1], out=starts[1:])
        buffer = np.frombuffer(data, np.uint8) if data else _NOTHING
        return cls(buffer, starts[:, None], lengths[:, None], np.full((len(pieces), 1), TEXT, np.uint8))

    @classmethod
    def of_strings(cls, array: pa.Array) -> Self:
        """Cells [B, 1] of an Arrow array of (large) strings, without a copy of their bytes."""
        wide = pa.types.is_large_string(array.type)
        _, ends, texts = array.buffers()
        places: Any = np.frombuffer(ends, np.int64 if wide else np.int32)
        places = places[array.offset : array.offset + len(array) + 1]
        data = np.frombuffer(texts, np.uint8) if texts is not None and texts.size else _NOTHING
        starts = places[:-1].astype(np.int64)
        lengths = np.diff(places)
        if wide:
            lengths = np.minimum(lengths, LONGEST).astype(np.int32)
        kinds = np.full(len(array), TEXT, np.uint8)
        if array.null_count:
            kinds[array.is_null().to_numpy(zero_copy_only=False)] = MISSING
        return cls(data, starts[:, None], lengths[:, None], kinds[:, None])

    def value(self, row: int, column: int) -> Any:
        """One cell as the Python value that JSON has in its place."""
        kind, start = self.kinds[row, column], int(self.starts[row, column])
        if kind == MISSING:
            return None
        text = self.data[start : start + int(self.lengths[row, column])].tobytes().decode()
        if kind == TEXT:
            return text
        if kind == LITERAL:
            return text == "true"
        return float(text) if kind == NUMBER else int(text)
