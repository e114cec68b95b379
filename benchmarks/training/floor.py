"""What the matrix products of a step take by themselves: the least that any loop around them could take."""

import time

import torch
from torch import Tensor, nn

from llactr_core.models.base import Backbone

Product = tuple[int, int, int]  # [M, K] x [K, N]


def products_of(backbone: Backbone, v: Tensor, w: Tensor) -> list[Product]:
    """The shapes of the products in the forward pass of the linear layers of a backbone, for v [B, K, d]."""
    found: list[Product] = []

    def note(layer: nn.Module, inputs: tuple[Tensor, ...], _output: Tensor) -> None:
        if isinstance(layer, nn.Linear):
            found.append((inputs[0].numel() // layer.in_features, layer.in_features, layer.out_features))

    hooks = [m.register_forward_hook(note) for m in backbone.modules() if isinstance(m, nn.Linear)]
    with torch.no_grad():
        backbone(v, w)
    for hook in hooks:
        hook.remove()
    return found


def floor(products: list[Product], repeats: int, kind: torch.dtype = torch.float32) -> float:
    """Milliseconds of all products, forwards and their two backwards: the least of some repeats."""
    sets = [[torch.randn(*shape).to(kind) for shape in ((m, k), (k, n), (m, n))] for m, k, n in products]
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        for x, weight, slope in sets:
            torch.mm(x, weight)
            torch.mm(slope, weight.T)
            torch.mm(x.T, slope)
        times.append(time.perf_counter() - began)
    return 1e3 * min(times)
