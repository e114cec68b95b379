"""A module of one input, looked-up rows, as an ONNX file."""

import contextlib
import io
import logging
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn


def write_onnx(module: nn.Module, example: Tensor, outputs: Sequence[str], path: Path) -> None:
    """Write outputs = module(rows) as ONNX; the first dimension of `example` is the batch and may be of any size."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")  # the exporter warns of its own deprecations; the scores are checked instead
        program = torch.onnx.export(
            module,
            (example,),
            input_names=["rows"],
            output_names=list(outputs),
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
