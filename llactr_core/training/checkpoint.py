"""State of a training run in one file that is either the old one or the new one, never a part."""

import json
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from llactr_core.errors import ArtifactError
from llactr_core.files import replacing
from llactr_core.training.adam import TableAdam

FILE = "training.safetensors"


class Checkpoint:
    """Model, optimizer and best weights, and the plain values of `state`, under a key of what is being trained."""

    def __init__(self, directory: Path, key: str) -> None:
        self.path = directory / FILE
        self.key = key
        directory.mkdir(parents=True, exist_ok=True)

    def save(self, model: nn.Module, optimizer: TableAdam, best: dict[str, Tensor], state: dict[str, object]) -> None:
        """Replace the checkpoint; it is on the disk when this returns. Tensors go to the file one by one."""
        tensors = {f"model/{name}": t for name, t in model.state_dict().items()}
        tensors |= {f"best/{name}": t for name, t in best.items()}
        tensors |= {f"optimizer/{name}": t for name, t in optimizer.state().items()}
        metadata = {"key": self.key, "state": json.dumps(state)}
        with replacing(self.path) as beside:
            save_file({name: t.detach().contiguous() for name, t in tensors.items()}, beside, metadata)

    def load(self, model: nn.Module, optimizer: TableAdam) -> tuple[dict[str, Tensor], dict[str, object]] | None:
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
                if metadata.get("key") != self.key:
                    return None
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except SafetensorError as error:
            raise ArtifactError(f"the checkpoint {self.path} is damaged ({error}); delete it to train anew") from error
        model.load_state_dict(_under("model", tensors))
        optimizer.load(_under("optimizer", tensors))
        state: dict[str, object] = json.loads(metadata["state"])
        return _under("best", tensors), state

    def delete(self) -> None:
        """Remove the checkpoint once its run has ended."""
        self.path.unlink(missing_ok=True)


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(f"{prefix}/"): t for name, t in tensors.items() if name.startswith(f"{prefix}/")}
