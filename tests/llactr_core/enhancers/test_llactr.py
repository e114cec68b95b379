import numpy as np
import pytest
import torch

from llactr_core.enhancers.base import Features
from llactr_core.enhancers.llactr import FIE, FRE, Llactr
from llactr_core.enhancers.model import CTRModel
from llactr_core.enhancers.options import LlactrOptions
from llactr_core.models.base import Shape
from llactr_core.models.embedding import FeatureEmbedding, split_rows
from llactr_core.models.pairs import pair_logit, pair_terms, pairwise
from llactr_core.models.registry import BACKBONES, build_backbone
from llactr_core.training.adam import TableAdam

K, D, WIDTH, V = 5, 12, 4, 40


def vectors(seed: int = 0) -> torch.Tensor:
    return torch.randn(K, D, generator=torch.Generator().manual_seed(seed))


def model_of(name: str, field_vectors: torch.Tensor, options: LlactrOptions | None = None) -> CTRModel:
    torch.manual_seed(1)
    backbone = build_backbone(name, Shape(K, WIDTH, (None,) * K), {})
    embedding = FeatureEmbedding(V, WIDTH, torch.arange(K), BACKBONES[name].first_order)
    torch.nn.init.normal_(embedding.table, std=0.5, generator=torch.Generator().manual_seed(2))
    return CTRModel(embedding, backbone, Llactr(field_vectors, WIDTH, options or LlactrOptions())).eval()


def ids(rows: int = 6, seed: int = 3) -> torch.Tensor:
    return torch.randint(0, V, (rows, K), generator=torch.Generator().manual_seed(seed))


def test_fre_is_the_mean_kl_divergence() -> None:
    torch.manual_seed(0)
    fre = FRE(vectors(), WIDTH)
    v = torch.randn(3, K, WIDTH)
    h, w = vectors().numpy().astype(np.float64), fre.projection.weight.detach().numpy().astype(np.float64)
    expected = 0.0
    for b in range(3):
        for k in range(K):
            p = np.exp(w @ h[k])
            q = np.exp(v[b, k].numpy().astype(np.float64))
            p, q = p / p.sum(), q / q.sum()
            expected += sum(p[i] * np.log(p[i] / q[i]) for i in range(WIDTH)) / (3 * K)
    assert fre(Features.of(v)).item() == pytest.approx(expected, rel=1e-5)


def test_equal_embeddings_count_as_often_as_they_occur() -> None:
    torch.manual_seed(0)
    fre, rows = FRE(vectors(), WIDTH), torch.randn(2 * K, WIDTH)
    places = torch.arange(K) + K * torch.randint(0, 2, (9, K))
    whole, once = Features.of(rows[places]), Features.of_rows(rows, places)
    torch.testing.assert_close(fre(once), fre(whole))
    torch.testing.assert_close(once.mean_square(), whole.mean_square())


def test_the_gradient_of_the_pairs_is_that_of_their_sum() -> None:
    torch.manual_seed(0)
    v = torch.randn(3, K, WIDTH, dtype=torch.float64, requires_grad=True)
    g = torch.randn(K, K, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v, g: pair_logit(v, g + g.T), (v, g))
    assert torch.autograd.gradcheck(pairwise, (v,))


def test_the_gradient_of_fre_is_that_of_its_formula() -> None:
    torch.manual_seed(0)
    fre = FRE(vectors().double(), WIDTH).double()
    rows = torch.randn(2 * K, WIDTH, dtype=torch.float64, requires_grad=True)
    features = Features.of_rows(rows, torch.arange(K) + K * torch.randint(0, 2, (9, K)))
    p = torch.softmax(fre.projection(fre.vectors), -1)[features.fields]
    expected = (features.shares * (p * (p.log() - torch.log_softmax(rows, -1))).sum(-1)).sum()
    torch.testing.assert_close(fre(features), expected)
    of = (rows, fre.projection.weight)
    for one, other in zip(torch.autograd.grad(fre(features), of), torch.autograd.grad(expected, of), strict=True):
        torch.testing.assert_close(one, other)


def test_fie_is_one_function_of_the_two_field_vectors() -> None:
    torch.manual_seed(0)
    h = vectors()
    h[3], h[4] = h[1], h[2]
    g = FIE(h, rank=6)()
    torch.testing.assert_close(g, g.T)
    assert torch.equal(torch.diag(g), torch.zeros(K))
    assert g[1, 2].item() == pytest.approx(g[3, 4].item(), rel=1e-5), "equal vectors must give equal weights"


def test_pair_logit_is_the_sum_over_pairs() -> None:
    v = torch.randn(3, K, WIDTH, dtype=torch.float64)
    g = torch.randn(K, K, dtype=torch.float64)
    g = g + g.T
    g.fill_diagonal_(0)
    expected = [sum(g[i, j] * (v[b, i] @ v[b, j]) for i in range(K) for j in range(i + 1, K)).item() for b in range(3)]
    assert pair_logit(v, g).tolist() == pytest.approx(expected)


@pytest.mark.parametrize("name", sorted(BACKBONES))
def test_both_heads_receive_gradient_and_change(name: str) -> None:
    model = model_of(name, vectors()).train()
    llactr = model.enhancer
    assert isinstance(llactr, Llactr)
    assert llactr.fre is not None
    assert llactr.fie is not None
    before = [llactr.fre.projection.weight.clone(), llactr.fie.projection.weight.clone()]
    optimizer = TableAdam(model, 1e-2)
    _, table, places = optimizer.look_up(ids())
    logit, v = model(places, None, table)
    loss = torch.nn.functional.binary_cross_entropy_with_logits(logit, torch.tensor([0.0, 1, 0, 1, 1, 0]))
    (loss + llactr.loss(Features.of(v))).backward()
    for head in (llactr.fre, llactr.fie):
        assert head.projection.weight.grad is not None
        assert head.projection.weight.grad.abs().max() > 0
    optimizer.step()
    for old, head in zip(before, (llactr.fre, llactr.fie), strict=True):
        assert not torch.equal(old, head.projection.weight)


@pytest.mark.parametrize("name", sorted(BACKBONES))
def test_fie_depends_on_the_features_and_on_the_order_of_fields(name: str) -> None:
    with torch.no_grad():
        plain = model_of(name, vectors(), LlactrOptions(fie_weight=0))
        model = model_of(name, vectors())
        model.backbone.load_state_dict(plain.backbone.state_dict())
        term = model(ids(), None)[0] - plain(ids(), None)[0]
        assert term.std() > 1e-3, "the FIE term must differ between rows"
        assert isinstance(model.enhancer, Llactr)
        assert model.enhancer.fie is not None
        permuted = model_of(name, vectors()[torch.tensor([1, 2, 3, 4, 0])])
        assert (permuted(ids(), None)[0] - model(ids(), None)[0]).abs().max() > 1e-3


@pytest.mark.parametrize("name", sorted(BACKBONES))
def test_folded_into_constants_it_scores_the_same(name: str) -> None:
    model = model_of(name, vectors())
    pairs = model.constant_pairs()
    assert pairs is not None
    with torch.no_grad():
        v, w = split_rows(model.embedding.table[ids()], WIDTH)
        rest = model.backbone.rest(v)
        folded = model.bias + w.sum(1) + pair_terms(v, pairs).sum((1, 2)) + (0 if rest is None else rest)
        torch.testing.assert_close(folded, model(ids(), None)[0])


def test_a_part_of_strength_zero_is_not_built() -> None:
    llactr = Llactr(vectors(), WIDTH, LlactrOptions(fre_weight=0, fie_weight=0))
    assert list(llactr.parameters()) == []
    assert llactr.pair_weights() is None
    assert llactr.loss(Features.of(torch.randn(2, K, WIDTH))).item() == 0
