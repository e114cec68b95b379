"""Adam on a table of which a batch touches few rows, against torch's own on the dense gradient."""

import copy

import pytest
import torch
from torch.nn import functional

from llactr_core.enhancers.base import Enhancer
from llactr_core.enhancers.model import CTRModel
from llactr_core.models.base import Shape
from llactr_core.models.embedding import FeatureEmbedding
from llactr_core.models.registry import build_backbone
from llactr_core.training.adam import TableAdam

K, D, V, B = 4, 6, 300, 32


def model() -> CTRModel:
    torch.manual_seed(3)
    embedding = FeatureEmbedding(V, D, torch.arange(K), first_order=True)
    return CTRModel(embedding, build_backbone("deepfm", Shape(K, D, (None,) * K), {"hidden": [16]}), Enhancer())


def loss_of(trained: CTRModel, seed: int) -> torch.Tensor:
    random = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, V // 10 if seed % 2 else V, (B, K), generator=random, dtype=torch.int32)
    logit, v = trained(ids, None)
    labels = torch.rand(B, generator=random).round()
    return functional.binary_cross_entropy_with_logits(logit, labels) + 0.1 * v.square().sum(dim=(1, 2)).mean()


def test_it_moves_every_row_as_dense_adam_does() -> None:
    ours, plain = model(), model()
    optimizer = TableAdam(ours, 0.01)
    dense = torch.optim.Adam(plain.parameters(), lr=0.01, fused=True)
    for seed in range(25):
        optimizer.zero_grad(set_to_none=True)
        loss_of(ours, seed).backward()
        optimizer.step()
        dense.zero_grad(set_to_none=True)
        loss_of(plain, seed).backward()
        plain.embedding.table.grad = plain.embedding.table.grad.to_dense()  # type: ignore[union-attr]
        dense.step()
    expected = dict(plain.named_parameters())
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(parameter, expected[name], atol=1e-6, rtol=0)


def test_a_row_that_is_not_touched_any_more_moves_on_by_its_momentum() -> None:
    trained = model()
    optimizer = TableAdam(trained, 0.01)
    for seed in (0, 1):
        optimizer.zero_grad(set_to_none=True)
        loss_of(trained, seed).backward()
        assert trained.embedding.table.grad is not None
        touched = trained.embedding.table.grad.coalesce().indices()[0]
        before = copy.deepcopy(trained.embedding.table.detach())
        optimizer.step()
        moved = (trained.embedding.table.detach() != before).any(dim=1)
        if seed == 0:
            first = touched
    left = torch.tensor(sorted(set(first.tolist()) - set(touched.tolist())))
    assert len(left) > 10
    assert moved[left].all()


def test_a_step_without_backward_is_refused() -> None:
    with pytest.raises(RuntimeError, match="backward first"):
        TableAdam(model(), 0.01).step()
