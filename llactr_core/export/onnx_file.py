"""A module as ONNX."""

import contextlib
import io
import logging
import warnings
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn


def onnx_of(module: nn.Module, example: Mapping[str, Tensor], outputs: Sequence[str]) -> bytes:
    """outputs = module(*inputs) as ONNX; the inputs' first dimension is the batch and may be of any size.

    Args:
        example: an example of each input, by name.
    """
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with torch.no_grad(), warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")  # the exporter warns of its own deprecations; the scores are checked instead
        program = torch.onnx.export(
            module,
            tuple(example.values()),
            input_names=list(example),
            output_names=list(outputs),
            dynamic_shapes=tuple({0: torch.export.Dim.DYNAMIC} for _ in example),
            dynamo=True,
            verbose=False,
        )
    if program is None:
        raise RuntimeError("torch.onnx.export returned no program")
    content = program.model_proto
    for part in (content, content.graph, *content.graph.node, *content.graph.value_info):
        part.ClearField("metadata_props")  # holds stack traces with paths of the machine that exported it
    return bytes(content.SerializeToString(deterministic=True))
