from pathlib import Path

import numpy as np
import pytest
import torch
from peft import PeftModel
from transformers import LlamaForCausalLM

from llactr_core.errors import ArtifactError, OptionError
from llactr_core.semantics.encoder import TextEncoder
from llactr_core.semantics.options import SsftOptions
from llactr_core.semantics.tuning.adapter import (
    adapter_digest,
    add_adapter,
    find_targets,
    load_adapter,
    lora_parameters,
    read_adapter,
    save_adapter,
    write_adapter,
)

OPTIONS = SsftOptions(rank=4, alpha=8, seed=3)


def _changed(path: Path) -> tuple[TextEncoder, tuple[str, ...]]:
    """An encoder whose adapter does something."""
    encoder = TextEncoder.load(str(path), device="cpu")
    targets = add_adapter(encoder, OPTIONS)
    state = read_adapter(encoder.model)
    generator = torch.Generator().manual_seed(0)
    write_adapter(encoder.model, {name: torch.randn(v.shape, generator=generator) for name, v in state.items()})
    return encoder, targets


def test_a_fresh_adapter_changes_nothing_and_alone_is_trainable(tiny_llama: Path):
    encoder = TextEncoder.load(str(tiny_llama), device="cpu")
    before = encoder.embed(["some text"])
    assert add_adapter(encoder, OPTIONS) == ("q_proj", "v_proj")
    np.testing.assert_array_equal(encoder.embed(["some text"]), before)
    trainable = {name for name, value in encoder.model.named_parameters() if value.requires_grad}
    assert trainable == set(lora_parameters(encoder.model))
    # Two layers, each with query (32 -> 32) and value (32 -> 16), rank 4.
    assert sum(value.numel() for value in lora_parameters(encoder.model).values()) == 2 * (4 * 64 + 4 * 48)


def test_the_seed_decides_the_adapter_and_leaves_the_global_generator_alone(tiny_llama: Path):
    states = []
    torch.manual_seed(11)
    expected = torch.rand(1)
    torch.manual_seed(11)
    for seed in (3, 3, 4):
        encoder = TextEncoder.load(str(tiny_llama), device="cpu")
        add_adapter(encoder, OPTIONS.model_copy(update={"seed": seed}))
        states.append(adapter_digest(read_adapter(encoder.model)))
    assert states[0] == states[1] != states[2]
    assert torch.rand(1) == expected


def test_minilm_targets_are_query_and_value():
    encoder = TextEncoder.load("all-MiniLM-L6-v2", device="cpu")
    assert find_targets(encoder.model, ()) == ("query", "value")
    add_adapter(encoder, SsftOptions())
    assert sum(value.numel() for value in lora_parameters(encoder.model).values()) == 73_728


def test_unknown_targets_are_refused_with_the_known_ones(tiny_llama: Path):
    encoder = TextEncoder.load(str(tiny_llama), device="cpu")
    with pytest.raises(OptionError, match=r"no module query; it has: .*q_proj"):
        find_targets(encoder.model, ("query",))
    with pytest.raises(OptionError, match="name them in 'targets'"):
        find_targets(torch.nn.Sequential(torch.nn.Linear(1, 1)), ())


# PEFT asks transformers 5 for a property under its old name.
@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")
def test_a_saved_adapter_is_loaded_by_us_and_by_peft_to_the_same_vectors(tiny_llama: Path, tmp_path: Path):
    encoder, targets = _changed(tiny_llama)
    digest = save_adapter(tmp_path, read_adapter(encoder.model), OPTIONS, targets)
    assert digest == adapter_digest(read_adapter(encoder.model))
    expected = encoder.embed(["some text", "other"])

    ours = TextEncoder.load(str(tiny_llama), device="cpu")
    assert np.abs(ours.embed(["some text"]) - expected[:1]).max() > 0.01
    assert load_adapter(ours, tmp_path) == digest
    np.testing.assert_array_equal(ours.embed(["some text", "other"]), expected)

    base = LlamaForCausalLM.from_pretrained(tiny_llama, local_files_only=True)
    merged = PeftModel.from_pretrained(base, str(tmp_path)).merge_and_unload()
    theirs = TextEncoder(merged, encoder.tokenizer, encoder.template, torch.device("cpu"), causal_head=True)
    np.testing.assert_allclose(theirs.embed(["some text", "other"]), expected, atol=1e-5)


def test_a_foreign_or_damaged_adapter_is_refused(tiny_llama: Path, tmp_path: Path):
    encoder, targets = _changed(tiny_llama)
    save_adapter(tmp_path, read_adapter(encoder.model), OPTIONS, targets)
    with pytest.raises(ArtifactError, match="does not fit"):
        load_adapter(TextEncoder.load("all-MiniLM-L6-v2", device="cpu"), tmp_path)
    weights = tmp_path / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    with pytest.raises(ArtifactError, match="cannot read the adapter"):
        load_adapter(TextEncoder.load(str(tiny_llama), device="cpu"), tmp_path)
