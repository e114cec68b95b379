"""How large a model is."""

from torch import nn

from llactr_core.enhancers.base import Enhancer
from llactr_core.enhancers.larr.larr import Larr
from llactr_core.enhancers.llactr import Llactr
from llactr_core.enhancers.model import CTRModel


def served_parameters(model: CTRModel) -> int:
    """The trained parameters that the logit depends on.

    What only a loss reads (FRE's projection, the heads of LARR's alignment) does not count: a model cannot score with
    it.
    """
    return _count(model) - sum(_count(part) for part in _of_losses(model.enhancer))


def _of_losses(enhancer: Enhancer) -> list[nn.Module]:
    parts: tuple[nn.Module | None, ...] = ()
    if isinstance(enhancer, Llactr):
        parts = (enhancer.fre,)
    if isinstance(enhancer, Larr):
        parts = (enhancer.text_head, enhancer.signal_head)
    return [part for part in parts if part is not None]


def _count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())
