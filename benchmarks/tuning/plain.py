"""SSFT as a plain loop: what one writes with transformers and peft alone, after the reference implementation.

The reference (github: istarryn/LLaCTR, llm/train_emb.py) encodes all field names in every call of its loss, that is
once per micro-batch of 4 prompts, of which several make a step; a micro-batch is padded to its longest prompt, up to a
multiple of 8. `micro_batch` 4 is that loop; `micro_batch` None takes a step's prompts at once and the fields once.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor
from torch.nn import functional
from transformers import AutoModel, AutoTokenizer

from llactr_core.semantics.options import SsftOptions


@dataclass(frozen=True)
class Texts:
    """What both loops learn from: prompts, the fields of each prompt's value, and the texts of the K fields."""

    prompts: list[str]
    targets: list[tuple[int, ...]]
    fields: list[str]


class PlainLoop:
    """One tuning: `step` after `step`, then `accuracy`. MiniLM's own pooling: the mean, normalised.

    Args:
        path: the model's directory.
        texts: tokenized here, once, before any step.
        options: adapter, learning rate, temperature and seed.
        steps: of the whole tuning; the learning rate warms up over a tenth of them and falls to zero.
        micro_batch: prompts that are encoded together; None: all of a step.
        pad_to: rows are as long as the longest, up to a multiple of this.
        bfloat16: multiply under autocast.
    """

    def __init__(
        self,
        path: Path,
        texts: Texts,
        options: SsftOptions,
        steps: int,
        *,
        micro_batch: int | None = None,
        pad_to: int | None = None,
        bfloat16: bool = False,
    ) -> None:
        self.tokenizer: Any = AutoTokenizer.from_pretrained(path, local_files_only=True)
        model: Any = AutoModel.from_pretrained(path, local_files_only=True)
        torch.manual_seed(options.seed)
        config = LoraConfig(r=options.rank, lora_alpha=options.alpha, target_modules=["query", "value"])
        with warnings.catch_warnings():
            # PEFT asks transformers 5 for a property under its old name.
            warnings.simplefilter("ignore", FutureWarning)
            self.model: Any = get_peft_model(model, config).eval()  # dropout off, as in ours
        self.parameters = [value for value in self.model.parameters() if value.requires_grad]
        self.optimizer = torch.optim.AdamW(self.parameters, lr=options.learning_rate, weight_decay=0.0)
        warm_up = max(1, round(0.1 * steps))
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, lambda step: min((step + 1) / warm_up, 1.0) * (1 - step / steps)
        )
        self.rows: list[list[int]] = self.tokenizer(texts.prompts, truncation=True)["input_ids"]
        self.targets = torch.zeros(len(texts.prompts), len(texts.fields))
        for row, fields in enumerate(texts.targets):
            self.targets[row, list(fields)] = 1 / len(fields)
        self.fields: dict[str, Tensor] = self.tokenizer(texts.fields, padding=True, return_tensors="pt")
        self.temperature, self.micro_batch, self.pad_to = options.temperature, micro_batch, pad_to
        self.bfloat16 = bfloat16

    def step(self, batch: Sequence[int]) -> float:
        """One step on these prompts; the loss before it, averaged over them."""
        self.optimizer.zero_grad()
        total, size = 0.0, self.micro_batch or len(batch)
        for first in range(0, len(batch), size):
            part = list(batch[first : first + size])
            loss = functional.cross_entropy(self._scores(part), self.targets[part]) * (len(part) / len(batch))
            loss.backward()
            total += loss.item()
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        self.schedule.step()
        return total

    def accuracy(self, rows: Sequence[int]) -> float:
        """The share of these prompts that land on one of their fields."""
        with torch.no_grad():
            chosen = torch.cat([self._scores(list(rows[i : i + 64])).argmax(-1) for i in range(0, len(rows), 64)])
        return float((self.targets[list(rows), chosen] > 0).float().mean())

    def _scores(self, part: list[int]) -> Tensor:
        """cos / tau of prompts and fields, float32 [B, K]."""
        padded = self.tokenizer.pad(
            {"input_ids": [self.rows[i] for i in part]},
            padding=True,
            pad_to_multiple_of=self.pad_to,
            return_tensors="pt",
        )
        return self._encode(padded) @ self._encode(self.fields).T / self.temperature

    def _encode(self, padded: Any) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bfloat16):
            hidden = self.model(**padded).last_hidden_state.float()  # [B, T, D]
        mask = padded["attention_mask"].unsqueeze(-1).float()  # [B, T, 1]
        return functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=-1)
