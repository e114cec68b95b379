"""Adam (Kingma and Ba, ICLR 2015) for a model whose table of embeddings is large and touched in a few rows a step."""

from collections.abc import Mapping

import torch
from torch import Tensor

from llactr_core.enhancers.model import CTRModel
from llactr_core.training.drift import BETA_1, BETA_2, EPSILON, Drift

SETTLED_AT_ONCE = 65536  # rows


class TableAdam:
    """Dense Adam: every row of the table moves in every step, as its moments say, also where its gradient is zero.

    A row without a gradient moves by what its moments and the step's number say alone, so its moves can wait until a
    batch needs the row: `look_up` makes up for them at once (`Drift`), and a step costs what its batch touches, not
    what the table holds. The result is that of `torch.optim.Adam` on the dense gradient, but for rounding. What reads
    the whole table calls `settle` first.

    Args:
        model: its table is `embedding.table`, [V, d] or [V, d + 1].
        learning_rate: of all parameters, until `set_rate`.
    """

    def __init__(self, model: CTRModel, learning_rate: float) -> None:
        self._table = model.embedding.table
        self._mean = torch.zeros_like(self._table, requires_grad=False)  # first moment
        self._square = torch.zeros_like(self._table, requires_grad=False)  # second moment
        self._last = torch.zeros(len(self._table), dtype=torch.int32, device=self._table.device)  # 0: never touched
        self._drift = Drift(learning_rate)
        others = [p for p in model.parameters() if p is not self._table]
        self._others = torch.optim.Adam(others, lr=learning_rate, fused=True)
        self._rows: Tensor | None = None
        self._looked_up: tuple[Tensor, Tensor, Tensor] | None = None

    def look_up(self, ids: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The distinct ids [R] of a batch, their rows [R, d (+ 1)], up to date, and its ids [B, S] as places in those.

        The rows take the gradient of the table in the next `step`.
        """
        rows, places = torch.unique(ids, return_inverse=True)
        self._rows = rows.long()
        self._looked_up = self._to_date(self._rows)
        return self._rows, self._looked_up[0].requires_grad_(), places

    @torch.no_grad()
    def step(self) -> None:
        """One step with the gradients that `backward` has left.

        Raises:
            RuntimeError: the rows that were looked up have no gradient.
        """
        gradient = None if self._looked_up is None else self._looked_up[0].grad
        if self._rows is None or self._looked_up is None or gradient is None:
            raise RuntimeError("the table has no gradient; call look_up and backward first")
        table, mean, square = self._looked_up
        number = self._drift.step + 1
        mean.lerp_(gradient, 1 - BETA_1)
        square.mul_(BETA_2).addcmul_(gradient, gradient, value=1 - BETA_2)
        scale = (1 - BETA_2**number) ** 0.5
        root = square.sqrt().div_(scale).add_(EPSILON)
        table.addcdiv_(mean, root, value=-self._drift.learning_rate / (1 - BETA_1**number))
        self._others.step()
        self._others.zero_grad(set_to_none=True)
        self._drift.advance()
        self._put(self._rows, table, mean, square)
        self._rows = self._looked_up = None
        if self._drift.is_due:
            self.settle()

    @torch.no_grad()
    def settle(self) -> None:
        """Bring every row of the table up to date."""
        touched = torch.nonzero(self._last).flatten()
        for start in range(0, len(touched), SETTLED_AT_ONCE):
            rows = touched[start : start + SETTLED_AT_ONCE]
            self._put(rows, *self._to_date(rows))
        self._drift.settled(self._drift.step)

    def set_rate(self, learning_rate: float) -> None:
        """Go on with another learning rate."""
        if learning_rate == self._drift.learning_rate:
            return
        self.settle()  # what rows still have to go is of the former rate
        self._drift.learning_rate = learning_rate
        for group in self._others.param_groups:
            group["lr"] = learning_rate

    def state(self) -> dict[str, Tensor]:
        """What has to be saved to go on from here, by name; call `settle` first.

        The tensors of the table are those of the optimizer itself, not copies.
        """
        state = {"mean": self._mean, "square": self._square, "last": self._last}
        state["step"] = torch.tensor(self._drift.step)
        for number, slots in self._others.state_dict()["state"].items():
            state |= {f"{number}/{name}": slot for name, slot in slots.items()}
        return state

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a saved state."""
        self._mean.copy_(state["mean"])
        self._square.copy_(state["square"])
        self._last.copy_(state["last"])
        self._drift.settled(int(state["step"]))
        slots: dict[int, dict[str, Tensor]] = {}
        for number, name in (key.split("/") for key in state if "/" in key):
            slots.setdefault(int(number), {})[name] = state[f"{number}/{name}"]
        self._others.load_state_dict({"state": slots, "param_groups": self._others.state_dict()["param_groups"]})

    @torch.no_grad()
    def _to_date(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Table, first and second moment of some rows, each [R, d (+ 1)], as they stand at the current step."""
        nodes = torch.from_numpy(self._drift.nodes()).to(self._table)
        since = (self._last[rows] - self._drift.base).clamp_(min=0)  # a row that was never touched has zero moments
        w_1, x_1, w_2, x_2, shrink, shrink_square = nodes[since].unsqueeze(2).unbind(1)  # [R, 1] each
        table, mean, square = (t.index_select(0, rows) for t in (self._table.detach(), self._mean, self._square))
        root = square.sqrt()
        way = w_1 / (root + x_1) + w_2 / root.add_(x_2)
        return table.addcmul_(mean, way, value=-1), mean.mul_(shrink), square.mul_(shrink_square)

    def _put(self, rows: Tensor, table: Tensor, mean: Tensor, square: Tensor) -> None:
        self._table.index_copy_(0, rows, table.detach())
        self._mean.index_copy_(0, rows, mean)
        self._square.index_copy_(0, rows, square)
        self._last[rows] = self._drift.step
