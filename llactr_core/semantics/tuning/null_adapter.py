"""An adapter that changes nothing: for engines that must serve the untuned model as if it were a tuned one."""

from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, inject_adapter_in_model

from llactr_core.errors import ArtifactError
from llactr_core.semantics.options import SsftOptions
from llactr_core.semantics.template import has_lm_head
from llactr_core.semantics.tuning.adapter import CONFIG, find_targets, lora_parameters, save_adapter
from llactr_core.semantics.weights import model_digest, read_config, resolve_model


def null_adapter(model: str, parent: Path) -> Path:
    """The folder of an adapter of zeros (rank 1, query and value projections) for the model, made where it is missing.

    No weights are read: the shapes follow from the model's configuration. The folder is named by the model's digest.

    Raises:
        NotFoundError, ArtifactError: the model is not here, or damaged.
        OptionError: its query and value projections have unknown names.
    """
    path = resolve_model(model)
    folder = parent / f"untuned-{model_digest(path)[:32]}"
    if not (folder / CONFIG).is_file():  # the file that is written last
        network = _shapes(path)
        targets = find_targets(network, ())
        inject_adapter_in_model(LoraConfig(r=1, lora_alpha=1, target_modules=list(targets)), network)
        zeros = {name: torch.zeros(value.shape) for name, value in lora_parameters(network).items()}
        save_adapter(folder, zeros, SsftOptions(rank=1, alpha=1), targets)
    return folder


def _shapes(path: Path) -> Any:
    from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

    family: Any = AutoModelForCausalLM if has_lm_head(read_config(path)) else AutoModel
    try:
        config = AutoConfig.from_pretrained(path, local_files_only=True, trust_remote_code=False)
        with torch.device("meta"):
            return family.from_config(config)
    except (OSError, ValueError, KeyError) as error:
        raise ArtifactError(f"cannot read the shapes of the language model {path.name!r}: {error}") from error
