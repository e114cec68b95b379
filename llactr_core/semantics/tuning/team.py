"""The processes that tune together: each takes its share of every step, and all of them end with the same sums."""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self, TypeVar

import torch
from torch import Tensor

Item = TypeVar("Item")


@dataclass(frozen=True)
class Team:
    """One process as a member of a team; the default is a team of its own, which needs no communication.

    Args:
        index: of this process, from 0.
        count: of the processes.
        device: on which sums are exchanged.
    """

    index: int = 0
    count: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @classmethod
    def join(cls, index: int, count: int, meeting_file: Path, *, gpu: bool) -> Self:
        """Meet the others through a file that all of them see; returns once everyone is there.

        Accelerate sets up the communication: NCCL between GPUs, of which this process takes the one with its index,
        Gloo between CPU processes.
        """
        from accelerate import PartialState

        own = {"RANK": index, "LOCAL_RANK": index, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}
        os.environ.update({name: str(value) for name, value in own.items()})
        state = PartialState(cpu=not gpu, init_method=f"file://{meeting_file}", rank=index, world_size=count)
        return cls(index, count, state.device)

    def leave(self) -> None:
        """Take the communication down, once nothing is left to add up."""
        if self.count > 1:
            from accelerate import PartialState

            PartialState().destroy_process_group()

    @property
    def leads(self) -> bool:
        """Whether this is the one process that reports and writes."""
        return self.index == 0

    def share(self, items: Sequence[Item]) -> list[Item]:
        """This process's items: every `count`-th, so that items sorted by length are spread evenly."""
        return list(items[self.index :: self.count])

    def places(self, lengths: Sequence[int]) -> int:
        """Tokens with padding that all processes together read of a batch of these lengths."""
        shares = [lengths[index :: self.count] for index in range(self.count)]
        return sum(len(share) * max(share) for share in shares if share)

    def add_up(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """The sum over all processes of each tensor, in one exchange; shapes and devices stay."""
        if self.count == 1:
            return list(tensors)
        from accelerate.utils import reduce

        flat = torch.cat([tensor.detach().to(self.device, torch.float32).flatten() for tensor in tensors])
        total: Tensor = reduce(flat, reduction="sum")
        parts = torch.split(total, [math.prod(tensor.shape) for tensor in tensors])
        return [part.view(tensor.shape).to(tensor.device) for part, tensor in zip(parts, tensors, strict=True)]


ALONE = Team()
