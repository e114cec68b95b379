"""A trained model's serving graph, in ONNX."""

import contextlib
import io
import logging
import warnings
from pathlib import Path

import torch

from llactr_core.enhancers.model import CTRModel, ServingGraph


def export_graph(model: CTRModel, path: Path) -> None:
    """Write logit [B] = graph(rows [B, K, d (+ 1)]) as ONNX, without the embedding table."""
    graph = ServingGraph(model).eval()
    embedding = model.embedding
    example = torch.zeros(2, embedding.fields, embedding.table.shape[1])
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")  # the exporter warns of its own deprecations; the scores are checked instead
        program = torch.onnx.export(
            graph,
            (example,),
            input_names=["rows"],
            output_names=["logit"],
            dynamic_shapes=({0: torch.export.Dim.DYNAMIC},),
            dynamo=True,
            verbose=False,
        )
    if program is None:
        raise RuntimeError("torch.onnx.export returned no program")
    content = program.model_proto
    for part in (content, content.graph, *content.graph.node, *content.graph.value_info):
        part.ClearField("metadata_props")  # holds stack traces with paths of the machine that exported it
    path.write_bytes(content.SerializeToString(deterministic=True))
