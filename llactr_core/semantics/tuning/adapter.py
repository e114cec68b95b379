"""The LoRA adapter: put into a model, read out, saved in PEFT's format, loaded again."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, inject_adapter_in_model
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from llactr_core.errors import ArtifactError, OptionError
from llactr_core.files import write_atomic
from llactr_core.semantics.encoder import TextEncoder
from llactr_core.semantics.options import SsftOptions
from llactr_core.semantics.tuning.run import copied

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"
_PREFIX = "base_model.model."
_NAME = ".default"
# Query and value projections under the names that model families give them; the first that is there is taken.
_QUERY_VALUE = (
    ("query", "value"),
    ("q_proj", "v_proj"),
    ("q_lin", "v_lin"),
    ("query_proj", "value_proj"),
    ("q", "v"),
    ("qkv_proj",),
    ("query_key_value",),
    ("c_attn",),
    ("Wqkv",),
)


def find_targets(model: nn.Module, wanted: tuple[str, ...]) -> tuple[str, ...]:
    """The modules that LoRA adapts: `wanted`, or the query and value projections of this model.

    Raises:
        OptionError: a wanted module does not exist, or the projections have unknown names.
    """
    present = {name.rsplit(".", 1)[-1] for name, module in model.named_modules() if not list(module.children())}
    if wanted:
        missing = sorted(set(wanted) - present)
        if missing:
            raise OptionError(
                f"the model has no module {', '.join(missing)}; it has: {', '.join(sorted(present))}", field="targets"
            )
        return wanted
    for names in _QUERY_VALUE:
        if present.issuperset(names):
            return names
    raise OptionError(
        f"cannot tell the query and value projections of this model; name them in 'targets': {sorted(present)}",
        field="targets",
    )


def add_adapter(encoder: TextEncoder, options: SsftOptions) -> tuple[str, ...]:
    """Put a fresh LoRA adapter (an update of zero, trainable, float32) into the model; returns its targets."""
    targets = find_targets(encoder.model, options.targets)
    config = LoraConfig(r=options.rank, lora_alpha=options.alpha, target_modules=list(targets), lora_dropout=0.0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        encoder.model.to("cpu")  # the same initial values on every device
        inject_adapter_in_model(config, encoder.model)
    for parameter in lora_parameters(encoder.model).values():
        parameter.data = parameter.data.float()
    encoder.model.to(encoder.device).eval()
    return targets


def lora_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """The adapter's parameters by name, in the model's order."""
    return {name: parameter for name, parameter in model.named_parameters() if "lora_" in name}


def read_adapter(model: nn.Module) -> dict[str, Tensor]:
    """A copy of the adapter's parameters, on the CPU."""
    return copied(lora_parameters(model))


def write_adapter(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Set the adapter's parameters.

    Raises:
        ArtifactError: names or shapes differ from the model's.
    """
    own = lora_parameters(model)
    if own.keys() != state.keys() or any(own[name].shape != value.shape for name, value in state.items()):
        raise ArtifactError("the adapter does not fit the model: it was made for another model or other options")
    with torch.no_grad():
        for name, value in state.items():
            own[name].copy_(value)


def save_adapter(directory: Path, state: Mapping[str, Tensor], options: SsftOptions, targets: tuple[str, ...]) -> str:
    """Write the adapter in PEFT's format (PEFT and vLLM load it); returns the SHA-256 of its weights, as hex."""
    content = _adapter_bytes(state)
    config = {
        "peft_type": "LORA",
        "r": options.rank,
        "lora_alpha": options.alpha,
        "target_modules": list(targets),
        "lora_dropout": 0.0,
        "bias": "none",
        "inference_mode": True,
    }
    write_atomic(directory / WEIGHTS, content)
    write_atomic(directory / CONFIG, json.dumps(config, indent=2).encode())
    return hashlib.sha256(content).hexdigest()


def adapter_digest(state: Mapping[str, Tensor]) -> str:
    """The SHA-256, as hex, that `save_adapter` returns for the same adapter."""
    return hashlib.sha256(_adapter_bytes(state)).hexdigest()


def load_adapter(encoder: TextEncoder, directory: Path) -> str:
    """Put a saved adapter into a freshly loaded encoder; returns the SHA-256 of its weights, as hex.

    Raises:
        ArtifactError: files are missing or damaged, or the adapter was made for another model.
    """
    try:
        content = (directory / WEIGHTS).read_bytes()
        tensors = load_tensors(content)
        config: dict[str, Any] = json.loads((directory / CONFIG).read_text(encoding="utf-8"))
        options = SsftOptions(
            rank=config["r"], alpha=config["lora_alpha"], targets=tuple(sorted(config["target_modules"]))
        )
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"cannot read the adapter in {directory.name!r}: {error}") from error
    try:
        add_adapter(encoder, options)
    except OptionError as error:
        raise ArtifactError(f"the adapter in {directory.name!r} does not fit the model: {error.detail}") from error
    write_adapter(encoder.model, {_local_name(name): value for name, value in tensors.items()})
    return hashlib.sha256(content).hexdigest()


def _adapter_bytes(state: Mapping[str, Tensor]) -> bytes:
    return save_tensors({_PREFIX + name.replace(_NAME, ""): value.contiguous() for name, value in state.items()})


def _local_name(name: str) -> str:
    stem, _, last = name.removeprefix(_PREFIX).rpartition(".")
    return f"{stem}{_NAME}.{last}"
