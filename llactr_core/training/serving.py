"""A trained model as its bundle serves it: tensors, graph, and the logits that come of them."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from llactr_core.bundle import BIAS, GRAPH, PAIRS, SCENE_GRAPH, SCENES, TABLE
from llactr_core.data.encoding import Encoder
from llactr_core.enhancers.larr.larr import Larr
from llactr_core.enhancers.model import CTRModel
from llactr_core.export.graph import exported_graph, exported_scene_graph
from llactr_core.export.rounding import rounded
from llactr_core.metrics.ranking import auc
from llactr_core.served import ServedModel, Weights
from llactr_core.training.data import Rows
from llactr_core.training.held_out import Logits
from llactr_core.training.loop import logits_of

MOST_LOST = 5e-4  # of AUC, for the speed of 8-bit products
SAMPLED = 4096


@dataclass(frozen=True)
class Rounding:
    """What 8-bit products would cost, and whether they are kept: AUC on valid, and the largest change of a logit."""

    is_kept: bool
    auc_lost: float
    largest_difference: float


@dataclass(frozen=True)
class Serving:
    """What is written, calibrated and measured.

    Args:
        tensors: all trained weights, and what the scorer reads of them.
        graph: ONNX; None where the logit has no such part.
        precision: of the graph's products.
        logits: those of rows, float64 [B].
        scene_graph: ONNX, what makes LARR's aggregate; None with another enhancer.
        rounding: what 8-bit products cost, where they were asked for.
    """

    tensors: dict[str, Tensor]
    graph: bytes | None
    precision: Literal["fp32", "int8"]
    logits: Logits
    scene_graph: bytes | None = None
    rounding: Rounding | None = None

    @property
    def graphs(self) -> dict[str, bytes]:
        """Those that there are, by the names of their files."""
        given = {GRAPH: self.graph, SCENE_GRAPH: self.scene_graph}
        return {name: graph for name, graph in given.items() if graph is not None}


def exact_logits(model: CTRModel) -> Logits:
    """The logits of rows by the model itself."""
    return lambda rows: logits_of(model, rows).double().numpy()


def exact(model: CTRModel) -> Serving:
    """The model as it was trained."""
    return Serving(_tensors(model), exported_graph(model), "fp32", exact_logits(model), exported_scene_graph(model))


def with_int8(serving: Serving, model: CTRModel, encoder: Encoder, train: Rows, valid: Rows) -> Serving:
    """The model with 8-bit products, where that loses no more than 0.0005 of AUC; else as it is.

    Args:
        serving: the model as it was trained.
        model: the same.
        encoder: of its ids.
        train: what the range of each tensor is taken from.
        valid: what the AUC is measured on.
    """
    if serving.graph is None:
        return serving
    weights = _weights(serving, model, encoder)
    sample = ServedModel(weights, encoder).graph_inputs(_some(train).encoded)
    graph = rounded(serving.graph, sample)
    if graph == serving.graph:
        return serving
    served = ServedModel(replace(weights, graph=graph), encoder)
    before, after = serving.logits(valid), served.logits_of(valid.encoded)
    labels = valid.labels.numpy()
    lost = auc(labels, before) - auc(labels, after)
    rounding = Rounding(lost <= MOST_LOST, lost, float(np.abs(after - before).max()))
    if not rounding.is_kept:
        return replace(serving, rounding=rounding)

    def logits(rows: Rows) -> npt.NDArray[np.float64]:
        return served.logits_of(rows.encoded)

    return replace(serving, graph=graph, precision="int8", logits=logits, rounding=rounding)


def _some(rows: Rows) -> Rows:
    chosen = np.zeros(len(rows), np.bool_)
    chosen[:: max(1, len(rows) // SAMPLED)] = True
    return rows.take(chosen)


def _weights(serving: Serving, model: CTRModel, encoder: Encoder) -> Weights:
    read = (TABLE, BIAS, PAIRS, SCENES)
    arrays = {name: tensor.detach().numpy() for name, tensor in serving.tensors.items() if name in read}
    return Weights.of(arrays.pop(TABLE), arrays, model.embedding.width, serving.graphs, encoder)


@torch.no_grad()
def _tensors(model: CTRModel) -> dict[str, Tensor]:
    tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    tensors[TABLE] = model.folded().contiguous()
    pairs = model.constant_pairs()
    if pairs is not None:
        tensors[PAIRS] = pairs.contiguous()
    if isinstance(model.enhancer, Larr):
        tensors[SCENES] = model.enhancer.scene_rows()
    return tensors
