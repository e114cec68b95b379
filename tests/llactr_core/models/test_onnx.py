"""Each backbone as an ONNX graph with a dynamic batch gives the same logits."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from llactr_core.models.base import Backbone, Shape
from llactr_core.models.registry import BACKBONES, build_backbone

FIELDS, WIDTH = 6, 8
SIDES = ("user", "item", None, "user", "context", None)


def export(model: Backbone, fields: int, path: Path) -> None:
    w = torch.zeros(3, fields if model.first_order else 0)
    batch = torch.export.Dim.DYNAMIC
    torch.onnx.export(
        model,
        (torch.zeros(3, fields, WIDTH), w),
        path,
        input_names=["v", "w"],
        output_names=["logit"],
        dynamic_shapes=({0: batch}, {0: batch}),
        dynamo=True,
        external_data=False,
        verbose=False,
    )


# torch's own exporter (2.13) still calls this pytree function, which torch itself deprecates.
@pytest.mark.filterwarnings(r"ignore:`isinstance\(treespec, LeafSpec\)` is deprecated:FutureWarning")
@pytest.mark.parametrize("fields", [1, FIELDS])
@pytest.mark.parametrize("name", BACKBONES)
def test_onnx_gives_the_same_logits(name: str, fields: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = build_backbone(name, Shape(fields, WIDTH, SIDES[:fields]), {}).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.1)
    export(model, fields, tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    names = {entry.name for entry in session.get_inputs()}
    for batch in (1, 2, 17):
        v, w = torch.randn(batch, fields, WIDTH), torch.randn(batch, fields if model.first_order else 0)
        feed = {key: value.numpy() for key, value in (("v", v), ("w", w)) if key in names}
        (logit,) = session.run(["logit"], feed)
        assert logit.shape == (batch,)
        np.testing.assert_allclose(logit, model(v, w).detach().numpy(), rtol=1e-5, atol=1e-5)
