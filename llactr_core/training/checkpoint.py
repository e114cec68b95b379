"""State of a training run in one file that is either the old one or the new one, never a part."""

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from llactr_core.errors import ArtifactError
from llactr_core.files import write_atomic

FILE = "training.safetensors"


class Checkpoint:
    """Model, optimizer and best weights, and the plain values of `state`, under a key of what is being trained."""

    def __init__(self, directory: Path, key: str) -> None:
        self.path = directory / FILE
        self.key = key
        directory.mkdir(parents=True, exist_ok=True)

    def save(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, best: dict[str, Tensor], state: dict[str, object]
    ) -> None:
        """Replace the checkpoint; it is on the disk when this returns."""
        tensors = {f"model/{name}": t for name, t in model.state_dict().items()}
        tensors |= {f"best/{name}": t for name, t in best.items()}
        for number, slots in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer/{number}/{name}": t for name, t in slots.items()}
        metadata = {"key": self.key, "state": json.dumps(state)}
        write_atomic(self.path, save({name: t.contiguous() for name, t in tensors.items()}, metadata))

    def load(
        self, model: nn.Module, optimizer: torch.optim.Optimizer
    ) -> tuple[dict[str, Tensor], dict[str, object]] | None:
        """Put model and optimizer into the saved state; returns the best weights and plain values, None without a save.

        A checkpoint of other data, options or code has another key and is ignored.

        Raises:
            ArtifactError: the file is damaged.
        """
        if not self.path.exists():
            return None
        try:
            with safe_open(self.path, "pt") as file:
                metadata = file.metadata()
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except SafetensorError as error:
            raise ArtifactError(f"the checkpoint {self.path} is damaged ({error}); delete it to train anew") from error
        if metadata.get("key") != self.key:
            return None
        model.load_state_dict(_under("model", tensors))
        slots: dict[int, dict[str, Tensor]] = {}
        for name, tensor in _under("optimizer", tensors).items():
            number, slot = name.split("/")
            slots.setdefault(int(number), {})[slot] = tensor
        optimizer.load_state_dict({"state": slots, "param_groups": optimizer.state_dict()["param_groups"]})
        state: dict[str, object] = json.loads(metadata["state"])
        return _under("best", tensors), state

    def delete(self) -> None:
        """Remove the checkpoint once its run has ended."""
        self.path.unlink(missing_ok=True)


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(f"{prefix}/"): t for name, t in tensors.items() if name.startswith(f"{prefix}/")}
