"""Adam on a table of which a batch touches few rows, against torch's own on the dense gradient."""

import copy
from collections.abc import Iterable

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


def batch_of(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, V // 10 if seed % 2 else V, (B, K), generator=random, dtype=torch.int32)
    return ids, torch.rand(B, generator=random, dtype=torch.float64).round()


def loss_of(trained: CTRModel, ids: torch.Tensor, labels: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
    logit, v = trained(ids, None, table)
    return functional.binary_cross_entropy_with_logits(logit, labels) + 0.1 * v.square().sum(dim=(1, 2)).mean()


def train(trained: CTRModel, optimizer: TableAdam, seeds: Iterable[int]) -> None:
    for seed in seeds:
        ids, labels = batch_of(seed)
        _, table, places = optimizer.look_up(ids)
        loss_of(trained, places, labels, table).backward()
        optimizer.step()


def train_dense(plain: CTRModel, dense: torch.optim.Optimizer, seeds: Iterable[int]) -> None:
    for seed in seeds:
        ids, labels = batch_of(seed)
        dense.zero_grad(set_to_none=True)
        loss_of(plain, ids, labels, plain.embedding.table).backward()
        dense.step()


def difference(ours: CTRModel, plain: CTRModel) -> float:
    expected = dict(plain.named_parameters())
    return max((p - expected[name]).abs().max().item() for name, p in ours.named_parameters())


def test_it_moves_every_row_as_dense_adam_does() -> None:
    ours, plain = model().double(), model().double()
    optimizer = TableAdam(ours, 0.01)
    dense = torch.optim.Adam(plain.parameters(), lr=0.01)
    for start in range(0, 200, 40):
        train(ours, optimizer, range(start, start + 40))
        train_dense(plain, dense, range(start, start + 40))
        optimizer.settle()
        assert difference(ours, plain) < 1e-6


def test_another_rate_holds_from_the_next_step_on() -> None:
    ours, plain = model().double(), model().double()
    optimizer = TableAdam(ours, 0.01)
    dense = torch.optim.Adam(plain.parameters(), lr=0.01)
    for start, rate in ((0, 0.01), (50, 0.003), (90, 0.02)):
        optimizer.set_rate(rate)
        dense.param_groups[0]["lr"] = rate
        train(ours, optimizer, range(start, start + 40))
        train_dense(plain, dense, range(start, start + 40))
    optimizer.settle()
    assert difference(ours, plain) < 1e-6


def test_a_row_that_is_not_touched_any_more_moves_on_by_its_momentum() -> None:
    trained = model().double()
    optimizer = TableAdam(trained, 0.01)
    train(trained, optimizer, [0])
    optimizer.settle()
    before = copy.deepcopy(trained.embedding.table.detach())
    train(trained, optimizer, [1])
    optimizer.settle()
    moved = (trained.embedding.table.detach() != before).any(dim=1)
    left = torch.tensor(sorted(set(batch_of(0)[0].flatten().tolist()) - set(batch_of(1)[0].flatten().tolist())))
    assert len(left) > 10
    assert moved[left].all()
    never = torch.ones(V, dtype=torch.bool)
    never[batch_of(0)[0].flatten()] = False
    never[batch_of(1)[0].flatten()] = False
    assert not moved[never].any()


def test_it_goes_on_from_its_saved_state_bit_for_bit() -> None:
    whole, cut = model().double(), model().double()
    first, second, third = TableAdam(whole, 0.01), TableAdam(cut, 0.01), TableAdam(cut, 0.01)
    for trained, optimizer in ((whole, first), (cut, second)):
        train(trained, optimizer, range(30))
        optimizer.settle()
    third.load({name: tensor.clone() for name, tensor in second.state().items()})
    train(whole, first, range(30, 60))
    train(cut, third, range(30, 60))
    first.settle()
    third.settle()
    assert difference(whole, cut) == 0


def test_a_step_without_backward_is_refused() -> None:
    with pytest.raises(RuntimeError, match="backward first"):
        TableAdam(model(), 0.01).step()
