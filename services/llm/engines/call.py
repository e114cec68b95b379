"""The texts of one call on their way to vectors, a slice at a time, so that other calls can go on in between."""

import time
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from llactr_core.semantics.table import Vectors
from llactr_core.semantics.tokens import Tokens
from services.llm.engines.engine import Embedded

if TYPE_CHECKING:
    from llactr_core.semantics.encoder import TextEncoder


class Call:
    """B texts, one at least, that are to be embedded by one voice."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = texts
        self._rows: list[Tokens] = []
        self._batches: deque[list[int]] = deque()
        self._vectors: dict[int, Vectors] = {}

    def is_done(self) -> bool:
        """Whether every text has its vector."""
        return len(self._vectors) == len(self._texts)

    def go_on(self, encoder: "TextEncoder", seconds: float) -> None:
        """Embed batches until so many seconds have passed, at least one; all texts are looked at before the first.

        Raises:
            TooLargeError: a text has more tokens than the model reads; `row` is its index.
        """
        end = time.monotonic() + seconds
        if not self._rows:
            self._open(encoder)
        while self._batches:
            batch = self._batches.popleft()
            vectors = encoder.embed_tokens([self._rows[index] for index in batch])
            self._vectors.update(zip(batch, vectors, strict=True))
            if time.monotonic() >= end:
                return

    def embedded(self) -> Embedded:
        """What came of it; raises as `Embedded`."""
        vectors = np.stack([self._vectors[index] for index in range(len(self._texts))])
        return Embedded(vectors, tuple(len(row) for row in self._rows))

    def _open(self, encoder: "TextEncoder") -> None:
        # Only here: a process that embeds nothing never loads torch.
        from llactr_core.semantics.encoder import TOKENS_PER_BATCH, buckets

        self._rows = encoder.tokenize_whole(self._texts)
        self._batches.extend(buckets([len(row) for row in self._rows], TOKENS_PER_BATCH))
