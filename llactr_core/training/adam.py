"""Adam (Kingma and Ba, ICLR 2015) for a model whose table of embeddings is large and touched in a few rows a step."""

from typing import Any

import torch

from llactr_core.enhancers.model import CTRModel


class TableAdam(torch.optim.Adam):
    """Dense Adam: every row of the table moves in every step, as its moments say, also where its gradient is zero.

    The gradient of the table comes as the rows that a batch has touched. They are put into one dense buffer that is
    kept, so that no step makes, fills with zeros and frees a tensor of the table's size; the result is that of
    `torch.optim.Adam` on the dense gradient.

    Args:
        model: its table is `embedding.table`, [V, d] or [V, d + 1].
        learning_rate: of all parameters.
    """

    def __init__(self, model: CTRModel, learning_rate: float) -> None:
        super().__init__(model.parameters(), lr=learning_rate, fused=True)
        self._table = model.embedding.table
        self._gradient = torch.zeros_like(self._table, requires_grad=False)

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One step with the gradients that `backward` has left; that of the table has to be sparse."""
        if self._table.grad is None:
            raise RuntimeError("the table has no gradient; call backward first")
        touched = self._table.grad.coalesce()  # indices [1, R] of distinct rows, values [R, d (+ 1)]
        rows = touched.indices()[0]
        self._gradient.index_copy_(0, rows, touched.values())
        self._table.grad = self._gradient
        super().step(closure)
        self._gradient.index_fill_(0, rows, 0)
        self._table.grad = None
