"""Stage 1 of LARR (arXiv 2408.11523): the language model learns the items, by predicting how each is described.

A causal model predicts the description's tokens one after the other. An encoder has to guess those of them that are
masked; its head is its input embeddings, since what was pre-trained with it is not in the model's files.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from llactr_core.enhancers.larr.options import LarrOptions
from llactr_core.enhancers.larr.reader import Reader
from llactr_core.enhancers.larr.texts import LarrTexts, Thing, mark, plain
from llactr_core.errors import DataError
from llactr_core.semantics.tokens import Tokens
from llactr_core.semantics.tuning.team import Team

HELD_OUT = 0.1


@dataclass(frozen=True)
class Sentence:
    """The tokens of an item, and from which to which its description goes."""

    tokens: Tokens
    start: int
    end: int


@dataclass(frozen=True)
class Pretraining:
    """Stage 1 as the work of a run; the last tenth of the items is held out."""

    reader: Reader
    options: LarrOptions
    sentences: list[Sentence]
    held_out: int

    @classmethod
    def of(cls, reader: Reader, texts: LarrTexts, options: LarrOptions) -> Self:
        """The sentences of some items.

        Raises:
            DataError: fewer than two items are described within the model's window.
        """
        found = (_sentence(reader, item, texts.described) for item in dict.fromkeys(texts.items))
        sentences = [one for one in found if one.end > one.start]
        if len(sentences) < 2:
            raise DataError(
                f"stage 1 of 'larr' reads the items' {texts.described!r}, but fewer than two items have one "
                "that the language model has room for; set larr.pretrain_epochs to 0"
            )
        return cls(reader, options, sentences, max(1, int(HELD_OUT * len(sentences))))

    def batches(self, epoch: int) -> list[list[int]]:
        """All sentences but those held out, shuffled."""
        order = np.random.default_rng([self.options.seed, 2, epoch]).permutation(len(self.sentences) - self.held_out)
        return [part.tolist() for part in np.array_split(order, max(1, -(-len(order) // self.options.batch_size)))]

    def length(self, example: int) -> int:
        """The tokens of a sentence."""
        return len(self.sentences[example].tokens)

    def loss(self, examples: Sequence[int], epoch: int) -> Tensor:
        """-log P(description | the other attributes) by token, averaged over the tokens that are predicted."""
        sentences = [self.sentences[i] for i in examples]
        encoder = self.reader.encoder
        if encoder.causal_head:
            answers = [one.tokens[one.start : one.end] for one in sentences]
            log_probs = encoder.answer_log_probs([one.tokens[: one.start] for one in sentences], answers)
            return -log_probs.sum() / sum(map(len, answers))
        masks = [_masked(one, self.options, epoch, i) for one, i in zip(sentences, examples, strict=True)]
        return masked_loss(self.reader, [one.tokens for one in sentences], masks)

    def judged(self, epoch: int, train_loss: float | None, team: Team) -> dict[str, Any]:
        """The loss of the held-out items."""
        first, size = len(self.sentences) - self.held_out, self.options.batch_size
        parts = [range(at, min(at + size, len(self.sentences))) for at in range(first, len(self.sentences), size)]
        sizes = [sum(self._predicted(i, -1) for i in part) for part in parts]
        with torch.inference_mode():
            losses = [float(self.loss(part, -1)) for part in parts]
        loss = sum(one * count for one, count in zip(losses, sizes, strict=True)) / sum(sizes)
        return {"epoch": epoch, "train_loss": train_loss, "held_out_loss": loss}

    def _predicted(self, example: int, epoch: int) -> int:
        """How many tokens of a sentence the loss is about."""
        one = self.sentences[example]
        return (
            one.end - one.start if self.reader.encoder.causal_head else len(_masked(one, self.options, epoch, example))
        )

    def merit(self, entry: Mapping[str, Any]) -> tuple[float, ...]:
        """The lower the loss, the better."""
        return (-float(entry["held_out_loss"]),)


def masked_loss(reader: Reader, rows: Sequence[Tokens], masks: Sequence[Sequence[int]]) -> Tensor:
    """-log P(token | the rest) of masked places, averaged over them: the hidden state times the input embeddings.

    Args:
        reader: an encoder with a mask token.
        rows: of B texts.
        masks: the places of each text that are masked.
    """
    encoder = reader.encoder
    blank = encoder.tokenizer.mask_token_id
    hidden_rows = [list(row) for row in rows]
    for row, places in zip(hidden_rows, masks, strict=True):
        for place in places:
            row[place] = blank
    states = encoder.states(hidden_rows)  # [B, T, D]
    where = [(number, place) for number, places in enumerate(masks) for place in places]
    at = torch.tensor(where, device=states.device)  # [masked, 2]
    wanted = torch.tensor([rows[number][place] for number, place in where], device=states.device)
    logits = states[at[:, 0], at[:, 1]] @ reader.embedding.weight.float().T  # [masked, V]
    return functional.cross_entropy(logits, wanted)


def _sentence(reader: Reader, item: Thing, described: str) -> Sentence:
    """The item's text with the description at its end, cut where the model's window ends."""
    encoder = reader.encoder
    text = plain(dict(item.attributes).get(described, ""))
    before = f"{item.text(described)} {mark(described)}"
    given, whole = encoder.tokenize([before, f"{before} {text}"])
    start = next((n for n, (a, b) in enumerate(zip(given, whole, strict=False)) if a != b), len(given))
    end = len(whole)
    special = set(encoder.tokenizer.all_special_ids)
    while end > start and whole[end - 1] in special:
        end -= 1
    return Sentence(whole, start, end)


def _masked(sentence: Sentence, options: LarrOptions, epoch: int, example: int) -> list[int]:
    """The places of the description that are masked, at least one; the same whenever asked."""
    random = np.random.default_rng([options.seed, 3, epoch + 1, example])
    count = sentence.end - sentence.start
    chosen = np.flatnonzero(random.random(count) < options.mask_rate)
    places = chosen if len(chosen) else random.integers(0, count, 1)
    return (places + sentence.start).tolist()  # type: ignore[no-any-return]
