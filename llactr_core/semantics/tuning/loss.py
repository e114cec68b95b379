"""The two losses of SSFT (LLaCTR, arXiv 2505.14057) and what the held-out values say."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from llactr_core.semantics.encoder import TOKENS_PER_BATCH, TextEncoder, Tokens, buckets
from llactr_core.semantics.options import Objective
from llactr_core.semantics.tuning.examples import Example, soft_targets

_MOST_RANKED = 256  # the generative ranking reads each value K times


def contrastive_log_probs(prompts: Tensor, fields: Tensor, temperature: float) -> Tensor:
    """log softmax over the K fields of cos(En(prompt), En(field)) / tau in float32: [B, D], [K, D] -> [B, K]."""
    cosines = functional.normalize(prompts.float(), dim=-1) @ functional.normalize(fields.float(), dim=-1).T  # [B, K]
    return functional.log_softmax(cosines / temperature, dim=-1)


def soft_cross_entropy(log_probs: Tensor, targets: Tensor) -> Tensor:
    """-sum_k target_k log p_k, averaged over the batch: [B, K], [B, K] -> scalar."""
    return -(targets * log_probs).sum(-1).mean()


@dataclass(frozen=True)
class Evaluation:
    """How well values land on their fields. A value counts as right in any of its fields.

    `balanced_accuracy` is averaged over fields; `confusion` is [K, K], true field by chosen field, where a wrong
    value is counted under the first of its fields.
    """

    loss: float
    accuracy: float
    balanced_accuracy: float
    confusion: list[list[int]]


@dataclass(frozen=True)
class Task:
    """An encoder, what it is tuned for, and the token rows of the K fields and of their names as answers."""

    encoder: TextEncoder
    objective: Objective
    temperature: float
    fields: Sequence[Tokens]
    answers: Sequence[Tokens]

    def loss(self, prompts: Sequence[Tokens], examples: Sequence[Example]) -> Tensor:
        """The loss of a batch of B values, with gradient."""
        total = torch.zeros((), device=self.encoder.device)
        if self.objective != "generative":
            targets = torch.from_numpy(soft_targets(examples, len(self.fields))).to(self.encoder.device)
            # One pass over the short field texts, one over the long prompts: together they would be padded alike.
            fields = self.encoder.forward(self.fields)  # [K, D]
            vectors = self.encoder.forward(prompts)  # [B, D]
            total = total + soft_cross_entropy(contrastive_log_probs(vectors, fields, self.temperature), targets)
        if self.objective != "contrastive":
            total = total + self._generative_loss(prompts, examples)
        return total

    def evaluate(self, prompts: Sequence[Tokens], examples: Sequence[Example]) -> Evaluation:
        """Loss and field accuracy on B values, without gradient."""
        with torch.inference_mode():
            if self.objective == "generative":
                kept = np.unique(np.linspace(0, len(examples) - 1, min(_MOST_RANKED, len(examples))).astype(int))
                prompts, examples = [prompts[i] for i in kept], [examples[i] for i in kept]
                log_probs = self._ranking(prompts)  # [B, K]
            else:
                vectors = torch.from_numpy(self.encoder.embed_tokens(prompts))
                fields = torch.from_numpy(self.encoder.embed_tokens(self.fields))
                log_probs = contrastive_log_probs(vectors, fields, self.temperature)  # [B, K]
            loss = float(soft_cross_entropy(log_probs, torch.from_numpy(soft_targets(examples, len(self.fields)))))
            if self.objective == "both":
                loss += self._generative_loss_in_parts(prompts, examples)
        chosen = log_probs.argmax(-1).numpy()
        return _judge(chosen, examples, len(self.fields), loss)

    def _generative_loss(self, prompts: Sequence[Tokens], examples: Sequence[Example]) -> Tensor:
        """-log P(field name | prompt), the target spread over all fields of a value, averaged over B values."""
        pairs = [(row, field) for row, example in enumerate(examples) for field in example.fields]
        log_probs = self.encoder.answer_log_probs(
            [prompts[row] for row, _ in pairs], [self.answers[field] for _, field in pairs]
        )
        shares = torch.tensor([1 / len(examples[row].fields) for row, _ in pairs], device=self.encoder.device)
        return -(shares * log_probs).sum() / len(examples)

    def _generative_loss_in_parts(self, prompts: Sequence[Tokens], examples: Sequence[Example]) -> float:
        total = 0.0
        for batch in buckets([len(prompt) for prompt in prompts], TOKENS_PER_BATCH):
            part = self._generative_loss([prompts[i] for i in batch], [examples[i] for i in batch])
            total += float(part) * len(batch)
        return total / len(examples)

    def _ranking(self, prompts: Sequence[Tokens]) -> Tensor:
        """log P(field name | prompt) for every prompt and field, float32 [B, K]."""
        pairs = [(row, field) for row in range(len(prompts)) for field in range(len(self.answers))]
        flat = torch.empty(len(pairs))
        lengths = [len(prompts[row]) + len(self.answers[field]) for row, field in pairs]
        for batch in buckets(lengths, TOKENS_PER_BATCH):
            rows = [prompts[pairs[i][0]] for i in batch]
            flat[batch] = self.encoder.answer_log_probs(rows, [self.answers[pairs[i][1]] for i in batch]).cpu()
        return flat.reshape(len(prompts), len(self.answers))


def _judge(chosen: npt.NDArray[np.int64], examples: Sequence[Example], count: int, loss: float) -> Evaluation:
    confusion = np.zeros((count, count), dtype=int)
    right, seen = np.zeros(count), np.zeros(count)
    hits = 0
    for field, example in zip(chosen.tolist(), examples, strict=True):
        hit = field in example.fields
        hits += hit
        confusion[field if hit else example.fields[0], field] += 1
        right[list(example.fields)] += hit
        seen[list(example.fields)] += 1
    balanced = float((right[seen > 0] / seen[seen > 0]).mean())
    return Evaluation(loss, hits / len(examples), balanced, confusion.tolist())
