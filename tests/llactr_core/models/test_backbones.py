"""Each backbone against its slow reference, and what all backbones have in common."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from llactr_core.models.base import Backbone, Shape
from llactr_core.models.registry import BACKBONES, build_backbone

from .reference import REFERENCES, Reference

SIDES = ("user", "item", "context", "user")
SMALL: dict[str, dict[str, object]] = {
    "fm": {},
    "deepfm": {"hidden": (5, 4)},
    "fwfm": {},
    "fmfm": {},
    "finalmlp": {"hidden_1": (7, 6), "hidden_2": (8,), "gate_hidden": (7,), "heads": 2},
    "wukong": {"layers": 2, "fmb": 2, "lcb": 1, "rank": 2, "fmb_hidden": (4,), "hidden": (9,)},
    "autoint": {"layers": 2, "heads": 2, "head_width": 3},
}
CASES = [pytest.param(name, SIDES, id=name) for name in BACKBONES]
CASES.append(pytest.param("finalmlp", (None, "item", None, None), id="finalmlp-without-user-side"))
CASES.append(pytest.param("finalmlp", (None, None, "context", None), id="finalmlp-without-sides"))


def make(name: str, fields: int, width: int, sides: tuple[str | None, ...], seed: int = 0) -> Backbone:
    """A small model with every parameter far from its start; biases are mostly positive, so that few units are dead."""
    torch.manual_seed(seed)
    model = build_backbone(name, Shape(fields, width, sides), SMALL[name])
    for key, parameter in model.named_parameters():
        nn.init.normal_(parameter, mean=0.5 if key.endswith("bias") else 0.0, std=0.5)
    return model.eval()


def inputs(batch: int, fields: int, width: int, scale: float = 1.0, seed: int = 1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    v = torch.randn(batch, fields, width, generator=generator, dtype=torch.float64) * scale
    return v, torch.randn(batch, fields, generator=generator, dtype=torch.float64)


def first_order(model: Backbone, w: Tensor) -> Tensor:
    """w as a caller gives it: [B, 0] to a model without first-order weights."""
    return w if model.first_order else w[:, :0]


def arrays(model: nn.Module) -> dict[str, np.ndarray]:
    return {name: p.detach().numpy().astype(np.float64) for name, p in model.named_parameters()}


def test_references_cover_every_backbone() -> None:
    assert list(REFERENCES) == list(BACKBONES)


@pytest.mark.parametrize(("name", "sides"), CASES)
def test_forward_agrees_with_the_paper(name: str, sides: tuple[str | None, ...]) -> None:
    model = make(name, 4, 3, sides)
    v, w = inputs(5, 4, 3)
    expected = REFERENCES[name](v.numpy(), first_order(model, w).numpy(), arrays(model), sides)
    with torch.no_grad():
        single = model(v.float(), first_order(model, w).float()).numpy()
        double = model.double()(v, first_order(model, w)).numpy()
    assert single.shape == (5,)
    np.testing.assert_allclose(single, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(double, expected, rtol=1e-10, atol=1e-10)
    assert np.ptp(expected) > 0.1


def slopes(reference: Reference, v: np.ndarray, w: np.ndarray, parameters: dict[str, np.ndarray],
           sides: tuple[str | None, ...], weights: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:  # fmt: skip
    """Central differences of sum(weights * reference) in v, w and every parameter."""
    step = 1e-6
    for name, array in {"v": v, "w": w, **parameters}.items():
        slope = np.zeros_like(array)
        for at in np.ndindex(array.shape):
            kept = array[at]
            array[at] = kept + step
            above = weights @ reference(v, w, parameters, sides)
            array[at] = kept - step
            below = weights @ reference(v, w, parameters, sides)
            array[at] = kept
            slope[at] = (above - below) / (2 * step)
        yield name, slope


@pytest.mark.parametrize(("name", "sides"), CASES)
def test_gradients_agree_with_finite_differences_of_the_paper(name: str, sides: tuple[str | None, ...]) -> None:
    model = make(name, 4, 2, sides, seed=2).double()
    v, w = inputs(2, 4, 2, seed=3)
    w = first_order(model, w)
    weights = torch.tensor([0.7, -1.3], dtype=torch.float64)
    v.requires_grad_()
    w.requires_grad_()
    (model(v, w) * weights).sum().backward()
    found = {"v": v.grad, "w": w.grad, **{key: p.grad for key, p in model.named_parameters()}}
    values = {key: p.detach().numpy().copy() for key, p in model.named_parameters()}
    expected = slopes(REFERENCES[name], v.detach().numpy(), w.detach().numpy(), values, sides, weights.numpy())
    for key, slope in expected:
        if slope.size == 0:
            continue
        np.testing.assert_allclose(found[key], slope, rtol=1e-5, atol=1e-7, err_msg=key)
        assert np.abs(slope).max() > 0, key


@pytest.mark.parametrize("name", BACKBONES)
@pytest.mark.parametrize("fields", [1, 2, 60])
def test_few_and_many_fields(name: str, fields: int) -> None:
    sides = tuple(SIDES[i % 3] for i in range(fields))
    model = make(name, fields, 4, sides)
    v, w = inputs(3, fields, 4, scale=0.2)
    w = first_order(model, w)
    expected = REFERENCES[name](v.numpy(), w.numpy(), arrays(model), sides)
    np.testing.assert_allclose(model(v.float(), w.float()).detach(), expected, rtol=1e-5, atol=1e-5)
    small = v.float().requires_grad_()
    model(small, w.float()).sum().backward()
    assert small.grad is not None
    assert small.grad.isfinite().all()


@pytest.mark.parametrize("name", BACKBONES)
def test_an_empty_batch_has_no_logits(name: str) -> None:
    model = make(name, 4, 3, SIDES)
    v, w = inputs(0, 4, 3)
    assert model(v.float(), first_order(model, w).float()).shape == (0,)


@pytest.mark.parametrize("name", BACKBONES)
def test_the_seed_decides_the_weights(name: str) -> None:
    models = []
    for seed in (7, 7, 8):
        torch.manual_seed(seed)
        models.append(build_backbone(name, Shape(5, 8, ("user", None, None, None, None)), {}).state_dict())
    same, again, other = models
    assert same.keys() == again.keys()
    assert all(torch.equal(same[key], again[key]) for key in same)
    random = name in ("deepfm", "finalmlp", "wukong", "autoint")
    assert any(not torch.equal(same[key], other[key]) for key in same) == random


@pytest.mark.parametrize("name", ["fwfm", "fmfm"])
def test_training_starts_from_an_fm(name: str) -> None:
    v, w = inputs(6, 5, 4)
    model = build_backbone(name, Shape(5, 4, (None,) * 5), {}).double()
    fm = build_backbone("fm", Shape(5, 4, (None,) * 5), {}).double()
    torch.testing.assert_close(model(v, w), fm(v, w))


@pytest.mark.parametrize("name", ["deepfm", "finalmlp", "wukong", "autoint"])
def test_dropout_is_active_in_training_only(name: str) -> None:
    model = build_backbone(name, Shape(4, 8, SIDES), {"dropout": 0.5})
    v, w = inputs(4, 4, 8)
    batch = (v.float(), first_order(model, w).float())
    assert not torch.equal(model(*batch), model(*batch))
    model.eval()
    assert torch.equal(model(*batch), model(*batch))


def test_deepfm_has_the_shape_that_the_comparisons_use() -> None:
    model = build_backbone("deepfm", Shape(8, 16, (None,) * 8), {})
    widths = [layer.out_features for layer in model.modules() if isinstance(layer, nn.Linear)]
    assert widths == [300, 300, 128, 1]


def test_fmfm_never_holds_the_pairs() -> None:
    batch, fields, width = 512, 40, 8
    model = build_backbone("fmfm", Shape(fields, width, (None,) * fields), {})
    v = torch.randn(batch, fields, width, requires_grad=True)
    kept: list[int] = []

    def pack(tensor: Tensor) -> Tensor:
        kept.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model(v, torch.zeros(batch, fields))
    assert kept
    assert max(kept) <= max(batch * fields * width, (fields * width) ** 2)


@pytest.mark.parametrize("name", BACKBONES)
def test_learns_interactions_from_small_embeddings(name: str) -> None:
    """The label is the product of the signs of two fields: no single field says anything about it."""
    torch.manual_seed(0)
    ids = torch.randint(0, 10, (512, 3))
    label = ((ids[:, 0] % 2) == (ids[:, 1] % 2)).float()
    offsets = torch.tensor([0, 10, 20])
    table = nn.Embedding(30, 8)
    nn.init.normal_(table.weight, std=0.01)
    backbone = build_backbone(name, Shape(3, 8, ("user", "item", None)), {})
    linear = nn.Parameter(torch.zeros(30))
    optimizer = torch.optim.Adam(
        [*table.parameters(), *backbone.parameters(), linear], lr=1e-2 if backbone.first_order else 1e-3
    )
    for _ in range(60):
        logit = backbone(table(ids + offsets), first_order(backbone, linear[ids + offsets]))
        loss = nn.functional.binary_cross_entropy_with_logits(logit, label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.25


@pytest.mark.parametrize("name", BACKBONES)
def test_the_last_hidden_layer_moves_with_every_field(name: str) -> None:
    model = make(name, 4, 3, SIDES)
    v, w = inputs(3, 4, 3)
    v = v.float().requires_grad_()
    hidden = model.hidden(v, first_order(model, w).float())
    assert hidden.ndim == 2
    assert len(hidden) == 3
    (slope,) = torch.autograd.grad(hidden.square().sum(), v)
    assert (slope.abs().sum((0, 2)) > 0).all()


@pytest.mark.parametrize(("name", "head"), [("wukong", "mlp.layers.3.weight"), ("autoint", "head.weight")])
def test_the_logit_is_linear_in_the_last_hidden_layer(name: str, head: str) -> None:
    model = make(name, 4, 3, SIDES)
    v, w = inputs(5, 4, 3)
    v, w = v.float(), first_order(model, w).float()
    torch.testing.assert_close(model.hidden(v, w) @ dict(model.named_parameters())[head][0], model(v, w))
