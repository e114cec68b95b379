"""A graph whose matrix products are of 8-bit integers (Jacob et al., CVPR 2018, arXiv 1712.05877)."""

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

Inputs = Mapping[str, npt.NDArray[np.float32]]
PRODUCTS = ("MatMul", "Gemm")
AT_ONCE = 256


def rounded(graph: bytes, sample: Inputs) -> bytes:
    """The graph with rounded inputs and weights of its products with weights, but for those of one output.

    A graph without such products stays as it is.

    Inputs have 8 bits between the smallest and the largest number of the sample, one scale for a tensor. The scales
    do not depend on what is scored, so neither does a row's score on the rows beside it. Weights have 7 bits and a
    scale for each column: sums of two such products fit 16 bits, so processors with and without VNNI score alike.

    Args:
        graph: ONNX.
        sample: rows of the graph's inputs, [N, ...] each.
    """
    model = onnx.load_from_string(graph)
    products = _products(model)
    if not products:  # an empty list would stand for all
        return graph
    with tempfile.TemporaryDirectory() as folder:
        with_shapes, path = Path(folder) / "shapes.onnx", Path(folder) / "rounded.onnx"
        quant_pre_process(model, with_shapes, skip_optimization=True, skip_symbolic_shape=True)
        quantize_static(
            with_shapes,
            path,
            _Sample(sample),
            quant_format=QuantFormat.QDQ,
            nodes_to_quantize=products,
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        return path.read_bytes()


def _products(model: onnx.ModelProto) -> list[str]:
    """The names of the products of an input and a matrix of weights of more than one column.

    A product of two inputs, or of one output, costs little time and most of the accuracy.
    """
    weights = {tensor.name: tensor.dims for tensor in model.graph.initializer}
    products = [node for node in model.graph.node if node.op_type in PRODUCTS]
    return [
        node.name
        for node in products
        if any(len(weights.get(name, ())) == 2 and 1 not in weights[name] for name in node.input[:2])
    ]


class _Sample(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, sample: Inputs) -> None:
        rows = len(next(iter(sample.values())))
        self._parts: Iterator[Inputs] = (
            {name: values[start : start + AT_ONCE] for name, values in sample.items()}
            for start in range(0, rows, AT_ONCE)
        )

    def get_next(self) -> Inputs | None:
        """The next rows; None behind the last."""
        return next(self._parts, None)
