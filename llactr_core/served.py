"""Ids to logits as a bundle serves them, without torch."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
import numpy.typing as npt

from llactr_core.aggregates import Aggregates
from llactr_core.bundle import BIAS, GRAPH, PAIRS, SCENE_GRAPH, SCENES
from llactr_core.data.encoding import Encoded, Encoder
from llactr_core.data.vocabulary import Ids
from llactr_core.errors import BundleError
from llactr_core.look_up import NO_PAIRS, NO_ROWS, NO_WEIGHTS, Floats, look_up
from llactr_core.scene_rows import SceneRows
from llactr_core.session import open_session

ROWS_AT_ONCE = 256  # what they take in between stays in the cache next to the core


@dataclass(frozen=True)
class Weights:
    """What a bundle's logit is made of: w_0 + sum_k w_k + sum_{i<j} pairs_ij <v_i, v_j> + graph(v).

    With scenes, v and w have one more field: K is then one more than the schema's fields.

    Args:
        table: [V, c], a value's embedding and then, if c > d, its w; memory-mapped.
        width: d.
        pairs: [K, K], or [0, 0] where there are none.
        bias: w_0.
        graph: ONNX, v [B, K, d] -> [B]; None where there is no such part.
        scenes: what makes the last field's row, [B, d (+ 1)], of the scene's ids; None where there is no such field.
        more: [M, c], the rows of the ids from V on, an overlay's.
    """

    table: Floats
    width: int
    pairs: Floats
    bias: float
    graph: bytes | None
    scenes: Aggregates | None = None
    more: Floats = field(default_factory=lambda: NO_ROWS)

    @classmethod
    def of(
        cls,
        table: Floats,
        tensors: Mapping[str, Floats],
        width: int,
        graphs: Mapping[str, bytes],
        encoder: Encoder,
    ) -> Self:
        """The weights of a table, of tensors by the names that they have in a bundle, of graphs by those of its files.

        Raises:
            BundleError: the scene's rows are of other fields, or have no graph.
        """
        scenes = None
        if SCENES in tensors:
            if SCENE_GRAPH not in graphs:
                raise BundleError(f"the bundle has scenes but no {SCENE_GRAPH}; train the model with this release")
            scenes = Aggregates(SceneRows.of(encoder, tensors[SCENES]), graphs[SCENE_GRAPH])
        return cls(table, width, tensors.get(PAIRS, NO_PAIRS), float(tensors[BIAS]), graphs.get(GRAPH), scenes)


class ServedModel:
    """The logits of one set of weights; safe to share between threads.

    Args:
        weights: what the logit is made of.
        encoder: gives the ids.
    """

    def __init__(self, weights: Weights, encoder: Encoder) -> None:
        self.weights = weights
        self._slot_field = encoder.slot_field
        self._fields = len(encoder.encoders) + (weights.scenes is not None)
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
        """About how much memory it takes, in bytes: the mapped table, the graph and the scenes."""
        scenes = 0 if self.weights.scenes is None else self.weights.scenes.nbytes
        return self.weights.table.nbytes + self.weights.more.nbytes + 3 * len(self.weights.graph or b"") + scenes

    def logits_of(self, encoded: Encoded) -> npt.NDArray[np.float64]:
        """The logits of encoded rows, float64 [B]."""
        logits = np.empty(len(encoded), np.float32)
        for start in range(0, len(encoded), ROWS_AT_ONCE):
            part = slice(start, start + ROWS_AT_ONCE)
            v = self._looked_up(encoded, part, logits[part])
            if self._session is not None:
                (rest,) = self._session.run(None, {self._input: v})
                logits[part] += rest
        return logits.astype(np.float64) + self.weights.bias

    def graph_inputs(self, encoded: Encoded) -> dict[str, Floats]:
        """What the graph reads for encoded rows, by the names of its inputs."""
        return {self._input: self._looked_up(encoded, slice(None), np.empty(len(encoded), np.float32))}

    def look_up(self, ids: Ids, weights: Floats | None) -> Floats:
        """Rows of the table, summed by field: float32 [B, K, d (+ 1)], and the scene's rows behind them (+ D')."""
        shape = (len(ids), self._fields - (self.weights.scenes is not None), self.weights.table.shape[1])
        rows = np.empty(shape, np.float32)
        self._look_up(ids, weights, NO_PAIRS, rows, np.empty(len(ids), np.float32))
        return rows if self.weights.scenes is None else self.weights.scenes.rows.beside(rows, ids)

    def _looked_up(self, encoded: Encoded, part: slice, logits: Floats) -> Floats:
        """v of a part of the rows, [B, K, d]; the other terms of their logits are put into `logits`."""
        ids = encoded.ids[part]
        weights = None if encoded.weights is None else encoded.weights[part]
        width = self.weights.width
        v = np.empty((len(ids), self._fields, width), np.float32)
        if self.weights.scenes is None:
            self._look_up(ids, weights, self.weights.pairs, v, logits)
            return v
        aggregates = self.weights.scenes.of_ids(ids)
        v[:, -1] = aggregates[:, :width]
        self._look_up(ids, weights, self.weights.pairs, v, logits)
        logits += aggregates[:, width:].sum(1)  # its first-order weight, if it has one
        return v

    def _look_up(self, ids: Ids, weights: Floats | None, pairs: Floats, v: Floats, logits: Floats) -> None:
        slot_weights = NO_WEIGHTS if weights is None else weights
        look_up(self.weights.table, self.weights.more, ids, slot_weights, self._slot_field, pairs, v, logits)
