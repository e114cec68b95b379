"""What the matrix products of a step take by themselves: the least that any loop around them could take."""

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode

from llactr_core.models.base import Backbone

PRODUCTS = ("aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm")

Product = Callable[[], Tensor]


class Products(TorchDispatchMode):
    """Notes the matrix products that are made within it, each on tensors of its own of the same layout."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[Product] = []

    def __torch_dispatch__(
        self,
        func: OpOverload,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Does what is asked for."""
        if func.name() in PRODUCTS:
            left, right = (_like(factor) for factor in args[-2:])
            self.found.append(partial(torch.matmul, left, right, out=torch.matmul(left, right)))
        return func(*args, **(kwargs or {}))


def _like(factor: Tensor) -> Tensor:
    """Random numbers of the same sizes and strides, also where a stride is 0."""
    extent = 1 + sum((size - 1) * stride for size, stride in zip(factor.size(), factor.stride(), strict=True))
    return torch.randn(extent).as_strided(factor.size(), factor.stride())


def products_of(backbone: Backbone, v: Tensor, w: Tensor) -> list[Product]:
    """All matrix products of a backbone, forwards and backwards, for v [B, K, d]."""
    v.requires_grad_()
    with Products() as products:
        backbone(v, w).backward(torch.ones(len(v)))
    return products.found


def floor(products: Sequence[Product], repeats: int) -> float:
    """Milliseconds of all products: the least of some repeats."""
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        for product in products:
            product()
        times.append(time.perf_counter() - began)
    return 1e3 * min(times)
