"""What CTRL's preparation costs (arXiv 2306.02841): the language model reads one sentence per training row.

CTRL aligns the sentences' vectors with those of the CTR model by a contrastive loss over the batch, one epoch long; its
language model is no longer needed afterwards. Here it has every advantage that ours has: the same model with the same
LoRA adapter instead of all weights, bfloat16, batches of like length; and its time is the language model's alone.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from llactr_core.data.splits import open_dataset
from llactr_core.schema import humanise
from llactr_core.semantics.encoder import TextEncoder
from llactr_core.semantics.options import SsftOptions
from llactr_core.semantics.tuning.adapter import add_adapter, lora_parameters
from llactr_core.semantics.weights import DEFAULT_MODEL

BATCH = 32
_WATCHED = 2


@dataclass(frozen=True)
class RowCost:
    """CPU seconds per row in the language model: forward and backward, and forward alone; tokens per row."""

    train_s: float
    forward_s: float
    tokens: float


def ml1m_sentences(datasets: Path, count: int) -> tuple[list[str], int]:
    """Sentences of `count` rows spread evenly over ml1m's train split, and how many rows it has."""
    columns = ["UserID", "Gender", "Age", "Occupation", "Title", "Genres"]
    batches = open_dataset(datasets / "ml1m", "Rating").train.batches(columns)
    rows = [row for batch in batches for row in batch.to_pylist()]
    return [sentence(rows, int(i)) for i in np.linspace(_WATCHED, len(rows) - 1, count)], len(rows)


def sentence(rows: Sequence[Mapping[str, Any]], index: int) -> str:
    """CTRL's sentence of a row; the titles before it, where they are the same user's, were watched recently."""
    row = rows[index]
    before = [r["Title"] for r in rows[max(0, index - _WATCHED) : index] if r["UserID"] == row["UserID"]]
    watched = f", who has recently watched {'|'.join(before)}" if before else ""
    return (
        f"This is a user, gender is {row['Gender']}, age is {row['Age']}, occupation is {row['Occupation']}{watched}. "
        f"This is a movie, title is {row['Title']}, genre is {row['Genres']}."
    )


def made_up_sentence(samples: Mapping[str, Sequence[str]], number: int) -> str:
    """The sentence of a row with a value of every field."""
    parts = (f"{humanise(name)} is {values[number % len(values)]}" for name, values in samples.items())
    return f"This is a row, {', '.join(parts)}."


def row_cost(sentences: Sequence[str]) -> RowCost:
    """Read and align the sentences once, in batches of like length; the first batch warms up and does not count."""
    options = SsftOptions()
    encoder = TextEncoder.load(DEFAULT_MODEL, device="cpu")
    add_adapter(encoder, options)
    rows = sorted(encoder.tokenize(sentences), key=len)
    batches = [rows[first : first + BATCH] for first in range(0, len(rows), BATCH)]
    optimizer = torch.optim.AdamW(lora_parameters(encoder.model).values(), lr=1e-4)
    train = forward = 0.0
    with encoder.in_bfloat16():
        _align(encoder, optimizer, batches[0])
        for batch in batches:
            began = time.process_time()
            _align(encoder, optimizer, batch)
            train += time.process_time() - began
            began = time.process_time()
            with torch.inference_mode():
                encoder.forward(batch)
            forward += time.process_time() - began
    return RowCost(train / len(rows), forward / len(rows), sum(map(len, rows)) / len(rows))


def _align(encoder: TextEncoder, optimizer: torch.optim.Optimizer, batch: Sequence[Sequence[int]]) -> None:
    """One step of the alignment; random vectors stand for those of the CTR model, whose cost is not the point."""
    optimizer.zero_grad()
    texts = encoder.forward([list(row) for row in batch])  # [B, D]
    tables = functional.normalize(torch.randn(texts.shape, generator=torch.Generator().manual_seed(0)), dim=-1)
    scores = texts @ tables.T / 0.07  # [B, B]
    own = torch.arange(len(batch))
    loss = functional.cross_entropy(scores, own) + functional.cross_entropy(scores.T, own)
    loss.backward()
    optimizer.step()
