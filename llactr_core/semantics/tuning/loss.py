"""The two losses of SSFT (LLaCTR, arXiv 2505.14057) and what the held-out values say."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from llactr_core.semantics.encoder import TOKENS_PER_BATCH, TextEncoder, buckets
from llactr_core.semantics.options import Objective
from llactr_core.semantics.tokens import Tokens
from llactr_core.semantics.tuning.examples import Example, soft_targets
from llactr_core.semantics.tuning.team import ALONE, Team

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

    `field_accuracy` has one entry per field, None for a field none of whose values was judged; `confusion` is [K, K],
    true field by chosen field, where a wrong value is counted under the first of its fields.
    """

    loss: float
    accuracy: float
    field_accuracy: list[float | None]
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
        """The loss of a batch of B values, with gradient.

        A field of few values draws the same one often: what occurs several times in a batch is read once.
        """
        total = torch.zeros((), device=self.encoder.device)
        if self.objective != "generative":
            targets = torch.from_numpy(soft_targets(examples, len(self.fields))).to(self.encoder.device)
            # One pass over the short field texts, one over the long prompts: together they would be padded alike.
            fields = self.encoder.forward(self.fields)  # [K, D]
            distinct, place = _distinct(prompts)
            vectors = self.encoder.forward(distinct)[place]  # [B, D]
            total = total + soft_cross_entropy(contrastive_log_probs(vectors, fields, self.temperature), targets)
        if self.objective != "contrastive":
            total = total + self._generative_loss(prompts, examples)
        return total

    def evaluate(self, prompts: Sequence[Tokens], examples: Sequence[Example], team: Team = ALONE) -> Evaluation:
        """Loss and field accuracy on B values, without gradient; the processes of a team share the work."""
        if self.objective == "generative":
            kept = np.unique(np.linspace(0, len(examples) - 1, min(_MOST_RANKED, len(examples))).astype(int))
            prompts, examples = [prompts[i] for i in kept], [examples[i] for i in kept]
        own = team.share(range(len(examples)))
        log_probs = torch.zeros(len(examples), len(self.fields))  # [B, K]
        generative = torch.zeros(())
        with torch.inference_mode():
            log_probs[own] = self._log_probs([prompts[i] for i in own])
            if self.objective == "both":
                generative += self._generative_sum([prompts[i] for i in own], [examples[i] for i in own])
        log_probs, generative = team.add_up([log_probs, generative])
        loss = soft_cross_entropy(log_probs, torch.from_numpy(soft_targets(examples, len(self.fields))))
        chosen = log_probs.argmax(-1).numpy()
        return _judge(chosen, examples, len(self.fields), float(loss + generative / len(examples)))

    def _log_probs(self, prompts: Sequence[Tokens]) -> Tensor:
        """log P(field | prompt) for every prompt and field, float32 [B, K]."""
        if self.objective == "generative":
            return self._ranking(prompts)
        vectors = torch.from_numpy(self.encoder.embed_tokens(prompts))
        fields = torch.from_numpy(self.encoder.embed_tokens(self.fields))
        return contrastive_log_probs(vectors, fields, self.temperature)

    def _generative_loss(self, prompts: Sequence[Tokens], examples: Sequence[Example]) -> Tensor:
        """-log P(field name | prompt), the target spread over all fields of a value, averaged over B values."""
        distinct, place = _distinct(prompts)
        shares: dict[tuple[int, int], float] = {}
        for row, example in zip(place, examples, strict=True):
            for field in example.fields:
                shares[row, field] = shares.get((row, field), 0.0) + 1 / len(example.fields)
        log_probs = self.encoder.answer_log_probs(
            [distinct[row] for row, _ in shares], [self.answers[field] for _, field in shares]
        )
        weights = torch.tensor(list(shares.values()), device=self.encoder.device)
        return -(weights * log_probs).sum() / len(examples)

    def _generative_sum(self, prompts: Sequence[Tokens], examples: Sequence[Example]) -> float:
        """The generative loss summed over B values instead of averaged."""
        total = 0.0
        for batch in buckets([len(prompt) for prompt in prompts], TOKENS_PER_BATCH):
            part = self._generative_loss([prompts[i] for i in batch], [examples[i] for i in batch])
            total += float(part) * len(batch)
        return total

    def _ranking(self, prompts: Sequence[Tokens]) -> Tensor:
        """log P(field name | prompt) for every prompt and field, float32 [B, K]."""
        pairs = [(row, field) for row in range(len(prompts)) for field in range(len(self.answers))]
        flat = torch.empty(len(pairs))
        lengths = [len(prompts[row]) + len(self.answers[field]) for row, field in pairs]
        for batch in buckets(lengths, TOKENS_PER_BATCH):
            rows = [prompts[pairs[i][0]] for i in batch]
            flat[batch] = self.encoder.answer_log_probs(rows, [self.answers[pairs[i][1]] for i in batch]).cpu()
        return flat.reshape(len(prompts), len(self.answers))


def _distinct(rows: Sequence[Tokens]) -> tuple[list[Tokens], list[int]]:
    """The distinct rows in the order in which they first occur, and for every row the place of its like."""
    places: dict[tuple[int, ...], int] = {}
    place = [places.setdefault(tuple(row), len(places)) for row in rows]
    return [list(row) for row in places], place


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
    by_field = [float(hit / all_) if all_ else None for hit, all_ in zip(right, seen, strict=True)]
    return Evaluation(loss, hits / len(examples), by_field, confusion.tolist())
