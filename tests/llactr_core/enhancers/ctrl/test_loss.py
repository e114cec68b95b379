"""The alignment loss against a slow reference of the paper's formulas in plain numpy."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from llactr_core.enhancers.ctrl import loss as module
from llactr_core.enhancers.ctrl.loss import Subspaces, alignment_loss, similarity

TAU = 0.7


def best_of(one: np.ndarray, other: np.ndarray) -> float:
    """The sum over the parts of one of the best inner product with a part of the other, both [M, p]."""
    return math.fsum(max(math.fsum(a * b for a, b in zip(x, y, strict=True)) for y in other) for x in one)


def reference(rows: np.ndarray, texts: np.ndarray, text_of: list[int]) -> float:
    """Every row beside its own copy of its text; the positives of a row are all rows with an equal one."""
    total, batch = 0.0, len(rows)
    for b in range(batch):
        positives = [j for j in range(batch) if text_of[j] == text_of[b]]
        of_row = [math.exp(best_of(rows[b], texts[text_of[j]]) / TAU) for j in range(batch)]
        of_text = [math.exp(best_of(texts[text_of[b]], rows[j]) / TAU) for j in range(batch)]
        for shares in (of_row, of_text):
            total -= math.fsum(math.log(shares[j] / math.fsum(shares)) for j in positives) / len(positives)
    return total / (2 * batch)


def batch(texts: int, subspaces: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.randn(7, subspaces, 3, generator=generator, dtype=torch.float64),
        torch.randn(texts, subspaces, 3, generator=generator, dtype=torch.float64),
    )


@pytest.mark.parametrize("subspaces", [1, 4])
@pytest.mark.parametrize("text_of", [[0, 1, 2, 3, 4, 5, 6], [0, 1, 0, 2, 1, 0, 3], [0] * 7], ids=["all", "some", "one"])
def test_the_loss_is_the_papers(subspaces: int, text_of: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    rows, texts = batch(max(text_of) + 1, subspaces)
    expected = reference(rows.numpy(), texts.numpy(), text_of)
    for at_once in (3, 256):
        monkeypatch.setattr(module, "ROWS_AT_ONCE", at_once)
        found = alignment_loss(rows, texts, torch.tensor(text_of), TAU)
        assert found.item() == pytest.approx(expected, rel=1e-12)


def test_the_gradient_is_that_of_finite_differences() -> None:
    rows, texts = batch(4, 2, seed=1)
    text_of = [0, 1, 0, 2, 1, 0, 3]
    rows.requires_grad_()
    texts.requires_grad_()
    alignment_loss(rows, texts, torch.tensor(text_of), TAU).backward()
    for tensor in (rows, texts):
        values = tensor.detach().numpy()
        for at in [(0, 0, 0), (2, 1, 2), (3, 0, 1)]:
            kept = values[at]
            values[at] = kept + 1e-6
            above = reference(rows.detach().numpy(), texts.detach().numpy(), text_of)
            values[at] = kept - 1e-6
            below = reference(rows.detach().numpy(), texts.detach().numpy(), text_of)
            values[at] = kept
            assert tensor.grad is not None
            assert tensor.grad[at].item() == pytest.approx((above - below) / 2e-6, rel=1e-5, abs=1e-9)


def test_equal_sentences_do_not_repel_each_other() -> None:
    rows = torch.tensor([[[1.0, 0.0]], [[1.0, 0.0]], [[0.0, 1.0]]], dtype=torch.float64)
    texts = torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]], dtype=torch.float64)
    rows.requires_grad_()
    alignment_loss(rows, texts, torch.tensor([0, 0, 1]), 0.02).backward()
    assert rows.grad is not None
    assert rows.grad.abs().max() < 1e-6


def test_parts_have_unit_length() -> None:
    parts = Subspaces(5, 12, 4)(torch.randn(3, 5))
    assert parts.shape == (3, 4, 3)
    torch.testing.assert_close(parts.norm(dim=-1), torch.ones(3, 4))
    assert similarity(parts, parts).diagonal().tolist() == pytest.approx([4.0] * 3, abs=1e-5)
