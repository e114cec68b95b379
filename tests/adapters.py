"""Adapters for tests: random weights that change a model for certain, with the canary that belongs to them."""

from pathlib import Path

import numpy as np
import torch

from llactr_core.semantics.canary import Canary
from llactr_core.semantics.encoder import TextEncoder
from llactr_core.semantics.options import SsftOptions
from llactr_core.semantics.tuning.adapter import add_adapter, read_adapter, save_adapter, write_adapter
from services.shared.storage.artifacts import folder_digest

OPTIONS = SsftOptions(rank=8, alpha=16)


def random_adapter(model: str, seed: int, parent: Path, texts: tuple[str, ...]) -> tuple[Path, np.ndarray]:
    """The folder of an adapter, named by its content, and the vectors of texts, float32 [B, D], with it."""
    encoder = TextEncoder.load(model, device="cpu")
    base = encoder.embed(texts)
    targets = add_adapter(encoder, OPTIONS)
    generator = torch.Generator().manual_seed(seed)
    drawn = {name: torch.randn(v.shape, generator=generator) for name, v in read_adapter(encoder.model).items()}
    write_adapter(encoder.model, {name: 0.15 * value for name, value in drawn.items()})
    adapted = encoder.embed(texts)
    scratch = parent / f"adapter-{seed}"
    save_adapter(scratch, read_adapter(encoder.model), OPTIONS, targets)
    Canary(texts[:4], base[:4], adapted[:4]).save(scratch)
    return scratch.rename(parent / folder_digest(scratch)), adapted
