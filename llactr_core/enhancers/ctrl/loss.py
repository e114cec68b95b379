"""CTRL's alignment loss: symmetric InfoNCE over a batch, with a similarity by sub-spaces (arXiv 2306.02841)."""

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

ROWS_AT_ONCE = 64


class Subspaces(nn.Module):
    """A linear map into M sub-spaces: [B, inputs] -> [B, M, width / M], every part of unit length.

    It has no bias, which would be most of what it makes of small embeddings.
    """

    def __init__(self, inputs: int, width: int, subspaces: int) -> None:
        super().__init__()
        self.subspaces = subspaces
        self.linear = nn.Linear(inputs, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """The parts of each row."""
        return functional.normalize(self.linear(x).view(len(x), self.subspaces, -1), dim=-1)


def similarity(ones: Tensor, others: Tensor) -> Tensor:
    """[A, C] of ones [A, M, p] and others [C, M, p]: for each part of a one the best of an other's, summed over M."""
    flat = others.flatten(0, 1)  # [C * M, p]
    by_part = [(part @ flat.T).view(-1, *others.shape[:2]).amax(2) for part in ones.unbind(1)]
    return torch.stack(by_part).sum(0)


def alignment_loss(rows: Tensor, texts: Tensor, text_of: Tensor, temperature: float) -> Tensor:
    """The mean of both directions' InfoNCE, a scalar.

    Each row is told from the other rows by its text, and each row's text by its row. Rows of equal texts are positives
    of each other: their shares of the softmax are wanted to be equal, and together 1. Where all texts differ it is the
    paper's loss. Memory is that of `ROWS_AT_ONCE` rows' similarities, which the backward pass computes again.

    Args:
        rows: [B, M, p], what the backbone makes of the rows.
        texts: [U, M, p], what the language model makes of the distinct sentences.
        text_of: int64 [B], the sentence of each row; every sentence has one at least.
        temperature: tau.
    """
    counts = torch.bincount(text_of, minlength=len(texts)).to(rows.dtype)  # [U]
    total = rows.new_zeros(())
    for part in torch.split(torch.arange(len(rows), device=rows.device), ROWS_AT_ONCE):
        total = total + _again(_of_rows, rows[part], texts, text_of[part], counts, temperature)
    for part in torch.split(torch.arange(len(texts), device=rows.device), ROWS_AT_ONCE):
        total = total + _again(_of_texts, texts[part], rows, part.unsqueeze(1) == text_of, counts[part], temperature)
    return total / (2 * len(rows))


def _again(function: object, *args: object) -> Tensor:
    loss: Tensor = checkpoint(function, *args, use_reentrant=False, preserve_rng_state=False)
    return loss


def _of_rows(rows: Tensor, texts: Tensor, own: Tensor, counts: Tensor, temperature: float) -> Tensor:
    """The sum over rows [A, M, p] of -log share of the own text; a text counts as often as the batch has it."""
    scores = similarity(rows, texts) / temperature  # [A, U]
    picked = scores.gather(1, own.unsqueeze(1)).squeeze(1)
    return (torch.logsumexp(scores + counts.log(), 1) - picked).sum()


def _of_texts(texts: Tensor, rows: Tensor, owns: Tensor, counts: Tensor, temperature: float) -> Tensor:
    """The same for texts [A, M, p], of which `owns` [A, B] says whose rows' they are; the mean over its rows, each
    text as often as the batch has it."""
    scores = similarity(texts, rows) / temperature  # [A, B]
    own = torch.where(owns, scores, 0.0).sum(1) / counts
    return (counts * (torch.logsumexp(scores, 1) - own)).sum()
