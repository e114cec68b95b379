"""Ids to logits as a bundle serves them, without torch."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
import numpy.typing as npt

from llactr_core.bundle import BIAS, PAIRS, SCENES
from llactr_core.data.encoding import Encoded, Encoder
from llactr_core.data.vocabulary import Ids
from llactr_core.look_up import NO_PAIRS, NO_ROWS, NO_WEIGHTS, Floats, look_up
from llactr_core.scene_rows import SceneRows
from llactr_core.session import open_session

ROWS_AT_ONCE = 256  # what they take in between stays in the cache next to the core


@dataclass(frozen=True)
class Weights:
    """What a bundle's logit is made of: w_0 + sum_k w_k + sum_{i<j} pairs_ij <v_i, v_j> + graph(v).

    Args:
        table: [V, c], a value's embedding and then, if c > d, its w; memory-mapped.
        width: d.
        pairs: [K, K], or [0, 0] where there are none.
        bias: w_0.
        graph: ONNX, v [B, K, d] -> [B]; None where there is no such part. With scenes, (v, scenes [B, S, D']) -> [B].
        scenes: what the graph reads of the scene's ids; None where it reads none.
        more: [M, c], the rows of the ids from V on, an overlay's.
    """

    table: Floats
    width: int
    pairs: Floats
    bias: float
    graph: bytes | None
    scenes: SceneRows | None = None
    more: Floats = field(default_factory=lambda: NO_ROWS)

    @classmethod
    def of(
        cls, table: Floats, tensors: Mapping[str, Floats], width: int, graph: bytes | None, encoder: Encoder
    ) -> Self:
        """The weights of a table, and of tensors by the names that they have in a bundle.

        Raises:
            BundleError: the scene's rows are of other fields.
        """
        scenes = SceneRows.of(encoder, tensors[SCENES]) if SCENES in tensors else None
        return cls(table, width, tensors.get(PAIRS, NO_PAIRS), float(tensors[BIAS]), graph, scenes)


class ServedModel:
    """The logits of one set of weights; safe to share between threads.

    Args:
        weights: what the logit is made of.
        encoder: gives the ids.
    """

    def __init__(self, weights: Weights, encoder: Encoder) -> None:
        self.weights = weights
        self._slot_field = encoder.slot_field
        self._fields = len(encoder.encoders)
        self._session = None if weights.graph is None else open_session(weights.graph)
        self._input = "" if self._session is None else str(self._session.get_inputs()[0].name)

    def with_more(self, table: Floats, scenes: Floats | None) -> Self:
        """This model with the rows of an overlay: [M, c], and the scene rows [M, D'] where it reads any."""
        own = self.weights.scenes
        model = copy.copy(self)
        with_scenes = own if own is None or scenes is None else own.with_rows(scenes)
        model.weights = replace(self.weights, more=table, scenes=with_scenes)
        return model

    @property
    def nbytes(self) -> int:
        """About how much memory it takes, in bytes: the mapped table and the graph."""
        return self.weights.table.nbytes + self.weights.more.nbytes + 3 * len(self.weights.graph or b"")

    def logits_of(self, encoded: Encoded) -> npt.NDArray[np.float64]:
        """The logits of encoded rows, float64 [B]."""
        logits = np.empty(len(encoded), np.float32)
        for start in range(0, len(encoded), ROWS_AT_ONCE):
            part = slice(start, start + ROWS_AT_ONCE)
            read = self._looked_up(encoded, part, logits[part])
            if self._session is not None:
                (rest,) = self._session.run(None, read)
                logits[part] += rest
        return logits.astype(np.float64) + self.weights.bias

    def graph_inputs(self, encoded: Encoded) -> dict[str, Floats]:
        """What the graph reads for encoded rows, by the names of its inputs."""
        return self._looked_up(encoded, slice(None), np.empty(len(encoded), np.float32))

    def look_up(self, ids: Ids, weights: Floats | None) -> Floats:
        """Rows of the table, summed by field: float32 [B, K, d (+ 1)], and the scene's rows behind them (+ D')."""
        width = self.weights.table.shape[1]
        rows = self._look_up(ids, weights, width, NO_PAIRS, np.empty(len(ids), np.float32))
        return rows if self.weights.scenes is None else self.weights.scenes.beside(rows, ids)

    def _looked_up(self, encoded: Encoded, part: slice, logits: Floats) -> dict[str, Floats]:
        """The graph's inputs for a part of the rows; the other terms of their logits are put into `logits`."""
        ids = encoded.ids[part]
        weights = None if encoded.weights is None else encoded.weights[part]
        read = {self._input: self._look_up(ids, weights, self.weights.width, self.weights.pairs, logits)}
        if self.weights.scenes is not None:
            read["scenes"] = self.weights.scenes.of_ids(ids)
        return read

    def _look_up(self, ids: Ids, weights: Floats | None, width: int, pairs: Floats, logits: Floats) -> Floats:
        v = np.empty((len(ids), self._fields, width), np.float32)
        slot_weights = NO_WEIGHTS if weights is None else weights
        look_up(self.weights.table, self.weights.more, ids, slot_weights, self._slot_field, pairs, v, logits)
        return v
