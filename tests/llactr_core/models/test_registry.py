"""Backbones by name, and the messages for options that are wrong."""

import pytest
import torch

from llactr_core.errors import OptionError
from llactr_core.models.base import Backbone, Shape
from llactr_core.models.registry import BACKBONES, backbone_options, build_backbone

SHAPE = Shape(3, 4, ("user", "item", None))


@pytest.mark.parametrize(("name", "linear"), [
    ("fm", True), ("deepfm", True), ("fwfm", True), ("fmfm", True), ("finalmlp", False), ("wukong", False),
    ("autoint", False),
])  # fmt: skip
def test_builds_every_backbone_by_name(name: str, linear: bool) -> None:
    model = build_backbone(name, SHAPE, {})
    assert type(model) is BACKBONES[name]
    assert isinstance(model, Backbone)
    assert model.first_order is linear
    assert model(torch.zeros(2, 3, 4), torch.zeros(2, 3 if linear else 0)).shape == (2,)


def test_unknown_backbone_lists_the_names() -> None:
    with pytest.raises(OptionError, match=r"no backbone 'DeepFm'; choose one of fm, deepfm, fwfm, fmfm, finalmlp, wuk"):
        build_backbone("DeepFm", SHAPE, {})


@pytest.mark.parametrize(("name", "options", "message"), [
    ("deepfm", {"hiden": [3]}, r"backbone 'deepfm' has no option 'hiden'; allowed: hidden, dropout$"),
    ("fm", {"hidden": [3]}, r"backbone 'fm' has no option 'hidden'; allowed: none$"),
    ("deepfm", {"dropout": 1.0}, r"'deepfm', option 'dropout': .* less than 1; given 1.0$"),
    ("deepfm", {"hidden": []}, r"option 'hidden': .* at least 1 item"),
    ("deepfm", {"hidden": [8, 0]}, r"option 'hidden.1': .* greater than or equal to 1; given 0$"),
    ("deepfm", {"hidden": "wide"}, r"option 'hidden': .* given 'wide'$"),
    ("wukong", {"layers": 0}, r"option 'layers'"),
    ("finalmlp", {"heads": 3}, r"'finalmlp': heads=3 must divide .* \(128 and 128\)$"),
])  # fmt: skip
def test_wrong_options_are_named(name: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        build_backbone(name, SHAPE, options)


def test_wukong_refuses_embeddings_of_one_dimension() -> None:
    with pytest.raises(OptionError, match="width >= 2, not 1"):
        build_backbone("wukong", Shape(3, 1, (None,) * 3), {})


def test_options_come_back_as_plain_data() -> None:
    options = backbone_options("deepfm", {"hidden": [64, 32]})
    plain = options.model_dump(mode="json")
    assert plain == {"hidden": [64, 32], "dropout": 0.0}
    assert backbone_options("deepfm", plain) == options
