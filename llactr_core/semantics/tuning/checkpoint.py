"""One file per tuning, replaced after every epoch, from which a killed tuning goes on."""

import json
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from llactr_core.files import write_atomic

FORMAT = "llactr.ssft-checkpoint/2"
_MOMENTS = ("step", "exp_avg", "exp_avg_sq")
_log = logging.getLogger(__name__)


@dataclass
class State:
    """All that a tuning needs to go on after `epoch` epochs; the order of prompts follows from (seed, epoch).

    `tokens` of prompts were drawn, in `places` of padded batches; a prompt counts as often as it was drawn.
    """

    epoch: int
    adapter: dict[str, Tensor]
    best: dict[str, Tensor]
    best_epoch: int
    history: list[dict[str, Any]] = field(default_factory=list)
    moments: dict[str, Tensor] = field(default_factory=dict)
    seconds: float = 0.0
    tokens: int = 0
    places: int = 0


def checkpoint_path(directory: Path, recipe: str) -> Path:
    """The file of the tuning with this recipe."""
    return directory / f"ssft-{recipe[:16]}.safetensors"


def save_state(path: Path, state: State, recipe: str) -> None:
    """Write tensors and facts to one file, atomically: a kill leaves the epoch before."""
    groups = {"adapter": state.adapter, "best": state.best, "moments": state.moments}
    # Copies, because safetensors refuses tensors that share memory, as the last and the best epoch may.
    tensors = {
        f"{group}|{name}": value.clone().contiguous() for group, part in groups.items() for name, value in part.items()
    }
    facts = {
        "epoch": state.epoch,
        "best_epoch": state.best_epoch,
        "history": state.history,
        "seconds": state.seconds,
        "tokens": state.tokens,
        "places": state.places,
    }
    metadata = {"format": FORMAT, "recipe": recipe, "facts": json.dumps(facts)}
    write_atomic(path, save_tensors(tensors, metadata=metadata))


def load_state(path: Path, recipe: str) -> State | None:
    """The state saved for this recipe; None, with a line in the log, where there is none that can be used."""
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != FORMAT or metadata.get("recipe") != recipe:
                _log.warning("the checkpoint %s belongs to another tuning; tuning begins anew", path.name)
                return None
            tensors = {name: file.get_tensor(name) for name in list(file.keys())}
        facts = json.loads(metadata["facts"])
    except (OSError, SafetensorError, ValueError, KeyError) as error:
        _log.warning("the checkpoint %s cannot be read (%s); tuning begins anew", path.name, error)
        return None
    return State(
        adapter=_group(tensors, "adapter"), best=_group(tensors, "best"), moments=_group(tensors, "moments"), **facts
    )


def _group(tensors: dict[str, Tensor], group: str) -> dict[str, Tensor]:
    return {name.removeprefix(f"{group}|"): value for name, value in tensors.items() if name.startswith(f"{group}|")}


def read_moments(optimizer: torch.optim.Optimizer, parameters: dict[str, nn.Parameter]) -> dict[str, Tensor]:
    """A copy of AdamW's step and moments per parameter, on the CPU."""
    moments = {}
    for name, parameter in parameters.items():
        for part, value in optimizer.state[parameter].items():
            moments[f"{name}|{part}"] = value.detach().cpu().clone()
    return moments


def write_moments(
    optimizer: torch.optim.Optimizer, parameters: dict[str, nn.Parameter], moments: dict[str, Tensor]
) -> None:
    """Give AdamW the step and moments that `read_moments` copied."""
    if not moments:
        return
    for name, parameter in parameters.items():
        state = {part: moments[f"{name}|{part}"].clone() for part in _MOMENTS}
        for part in _MOMENTS[1:]:
            state[part] = state[part].to(parameter.device)
        optimizer.state[parameter] = state
