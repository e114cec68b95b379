"""What field and value vectors are replaced by, to see whether it is their meaning that helps."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import accumulate, pairwise

import numpy as np

from llactr_core.semantics.semantics import Semantics
from llactr_core.semantics.table import FieldTable, Vectors
from llactr_core.semantics.values.table import ValueTable

Change = Callable[[Vectors, np.random.Generator], Vectors]


def random_of_equal_norm(vectors: Vectors, random: np.random.Generator) -> Vectors:
    """Independent normal directions, each with the length of the vector that it replaces, [n, D]."""
    drawn = random.standard_normal(vectors.shape)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True) / np.linalg.norm(drawn, axis=1, keepdims=True)
    changed: Vectors = (drawn * lengths).astype(np.float32)
    return changed


def shuffled(vectors: Vectors, random: np.random.Generator) -> Vectors:
    """The same vectors, each in the place of another one where there are two or more: a random cycle."""
    order = random.permutation(len(vectors))
    moved = vectors.copy()
    moved[order] = vectors[np.roll(order, 1)]
    return moved


def all_equal(vectors: Vectors, _random: np.random.Generator) -> Vectors:
    """Their mean everywhere."""
    return np.repeat(vectors.mean(0, keepdims=True), len(vectors), axis=0)


CHANGES: Mapping[str, Change] = {"random": random_of_equal_norm, "shuffled": shuffled, "equal": all_equal}


def changed_fields(semantics: Semantics, change: str, seed: int) -> Semantics:
    """The semantics with other field vectors."""
    table = semantics.fields
    if table is None:
        return semantics
    vectors = CHANGES[change](table.vectors, np.random.default_rng(seed))
    recipe = f"{table.recipe} {change} {seed}"
    return replace(semantics, fields=FieldTable(table.fields, vectors, table.model, recipe))


def changed_values(semantics: Semantics, change: str, seed: int) -> Semantics:
    """The semantics with other value vectors, changed within each field."""
    table = semantics.values
    if table is None:
        return semantics
    random = np.random.default_rng(seed)
    starts = [0, *accumulate(map(len, table.values))]
    parts = [CHANGES[change](table.vectors[start:end], random) for start, end in pairwise(starts) if end > start]
    recipe = f"{table.recipe} {change} {seed}"
    values = ValueTable(table.fields, table.values, np.concatenate(parts), table.model, recipe)
    return replace(semantics, values=values)
