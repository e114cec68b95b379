import pytest
import torch

from benchmarks.training.floor import floor, products_of
from llactr_core.models.base import Shape
from llactr_core.models.registry import build_backbone


@pytest.mark.parametrize(
    ("name", "products"),
    [
        ("fm", 0),  # its sum over pairs is no product of matrices
        ("deepfm", 12),  # four linear layers, forwards and for both gradients
        ("wukong", 45),  # in each of three layers two linear ones, X^T Y with its like, and X X^T Y; three in the head
    ],
)
def test_every_product_of_a_step_counts(name: str, products: int) -> None:
    backbone = build_backbone(name, Shape(4, 8, (None,) * 4), {})
    found = products_of(backbone, torch.randn(5, 4, 8), torch.zeros(5, 4 * backbone.first_order))
    assert len(found) == products
    assert floor(found, 2) > 0
