"""From samples to training examples: several fields per value, a held-out part, balanced order."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from llactr_core.semantics.template import cut

Targets = npt.NDArray[np.float32]
_WINDOW = 8  # batches whose prompts are sorted by length together


@dataclass(frozen=True)
class Example:
    """A distinct value and the indices of all fields in which it occurs."""

    value: str
    fields: tuple[int, ...]


def build_examples(samples: Mapping[str, Sequence[str]], names: Sequence[str], max_chars: int) -> list[Example]:
    """One example per distinct value as the prompt shows it, sorted by value.

    A value that several fields share becomes one example with all of them; so do long values that only differ after
    `max_chars` characters.
    """
    found: dict[str, set[int]] = {}
    for index, name in enumerate(names):
        for value in samples.get(name, ()):
            shown = cut(value, max_chars)
            if shown:
                found.setdefault(shown, set()).add(index)
    return [Example(value, tuple(sorted(fields))) for value, fields in sorted(found.items())]


def split_examples(
    examples: Sequence[Example], count: int, share: float, seed: int
) -> tuple[list[Example], list[Example]]:
    """Train and held-out examples, stratified by field, the same whatever the order of the input.

    Each of the `count` fields gives at most `share` of its values; a field with one or two values gives none, so
    that some of every field stay in train. A value is wholly in one part.
    """
    sizes = np.zeros(count, dtype=int)
    for example in examples:
        sizes[list(example.fields)] += 1
    if share == 0:
        return list(examples), []
    allowance = np.where(sizes > 2, np.maximum(1, np.round(share * sizes)), 0)
    held_out: set[str] = set()
    for example in sorted(examples, key=lambda one: _rank(one.value, seed)):
        fields = list(example.fields)
        if (allowance[fields] > 0).all():
            allowance[fields] -= 1
            held_out.add(example.value)
    train = [example for example in examples if example.value not in held_out]
    return train, [example for example in examples if example.value in held_out]


def epoch_order(examples: Sequence[Example], count: int, size: int, seed: int, epoch: int) -> list[int]:
    """Indices of the examples of one epoch: about `size` draws, the same number for each of the `count` fields.

    Fields without examples are left out. A field deals its values like a deck of cards, so that over the epochs
    every value comes before any comes again. It depends on (seed, epoch) only, not on epochs before.
    """
    members: list[list[int]] = [[] for _ in range(count)]
    for index, example in enumerate(examples):
        for field in example.fields:
            members[field].append(index)
    filled = [(field, deck) for field, deck in enumerate(members) if deck]
    quota = max(1, -(-size // max(1, len(filled))))
    drawn = [card for field, deck in filled for card in _deal(deck, quota, [seed, 1, field], epoch)]
    shuffled = np.random.default_rng([seed, 2, epoch]).permutation(len(drawn))
    return [drawn[position] for position in shuffled]


def epoch_batches(order: Sequence[int], lengths: Sequence[int], size: int, seed: int, epoch: int) -> list[list[int]]:
    """Cut an epoch's order into batches of at most `size` prompts of like length, so that little is padded.

    Stretches of a few batches are sorted by length, cut, and the batches shuffled: which prompts meet stays random.
    All batches are of equal size (give or take one), so that none is noisier than the others.

    Args:
        order: indices of the prompts to draw, as `epoch_order` gives them.
        lengths: of every prompt, in tokens.
        size: prompts of a batch at most.
        seed: of the tuning.
        epoch: from 0; it and the seed decide the order of the batches.
    """
    count = -(-len(order) // size)
    windows = np.array_split(np.arange(count), -(-count // _WINDOW))
    cuts = np.linspace(0, len(order), count + 1).astype(int)
    batches: list[list[int]] = []
    for window in windows:
        first, last = cuts[window[0]], cuts[window[-1] + 1]
        alike = sorted(order[first:last], key=lambda index: lengths[index])
        batches += [alike[cuts[i] - first : cuts[i + 1] - first] for i in window]
    return [batches[i] for i in np.random.default_rng([seed, 3, epoch]).permutation(count)]


def soft_targets(examples: Sequence[Example], count: int) -> Targets:
    """Targets float32 [B, K]: each row sums to 1, spread evenly over the fields of the value."""
    targets = np.zeros((len(examples), count), dtype=np.float32)
    for row, example in enumerate(examples):
        targets[row, list(example.fields)] = 1 / len(example.fields)
    return targets


def _deal(deck: list[int], quota: int, key: list[int], epoch: int) -> list[int]:
    """The cards number epoch * quota .. (epoch + 1) * quota of an endless row of shuffled decks."""
    first, last = epoch * quota, (epoch + 1) * quota
    rounds = range(first // len(deck), -(-last // len(deck)))
    cards = [deck[i] for part in rounds for i in np.random.default_rng([*key, part]).permutation(len(deck))]
    start = first - rounds.start * len(deck)
    return cards[start : start + quota]


def _rank(value: str, seed: int) -> bytes:
    raw = value.encode("utf-8", "surrogatepass")
    return hashlib.blake2b(raw, digest_size=8, key=f"llactr-split-{seed}".encode()).digest()
