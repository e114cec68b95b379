"""The terms of every backbone sum to its logit, and the FM-type ones are what the papers say."""

import numpy as np
import pytest
import torch
from torch import Tensor

from llactr_core.models.base import Backbone, Shape, Terms
from llactr_core.models.registry import BACKBONES, build_backbone

SIDES = ("user", "item", "context", "user", None)
FIELDS, WIDTH = len(SIDES), 4


def make(name: str) -> tuple[Backbone, Tensor, Tensor]:
    torch.manual_seed(3)
    model = build_backbone(name, Shape(FIELDS, WIDTH, SIDES), {}).double().eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    v = torch.randn(6, FIELDS, WIDTH, dtype=torch.float64)
    return model, v, torch.randn(6, FIELDS if model.first_order else 0, dtype=torch.float64)


def total(terms: Terms) -> Tensor:
    parts = (terms.first, terms.pairs, terms.rest)
    return torch.stack([part.flatten(1).sum(1) if part.ndim > 1 else part for part in parts if part is not None]).sum(0)


@pytest.mark.parametrize("name", BACKBONES)
def test_terms_sum_to_the_logit(name: str) -> None:
    model, v, w = make(name)
    with torch.no_grad():
        terms, logit = model.terms(v, w), model(v, w)
    torch.testing.assert_close(total(terms), logit, rtol=1e-10, atol=1e-10)
    assert logit.std() > 0.1


@pytest.mark.parametrize("name", ["fm", "deepfm", "fwfm", "fmfm"])
def test_a_pair_is_what_the_logit_loses_without_both_of_its_fields(name: str) -> None:
    """With all other embeddings zero, FM-type logits are one pair's term; the deep part is taken off."""
    model, v, w = make(name)
    with torch.no_grad():
        pairs = model.terms(v, w).pairs
        assert pairs is not None
        assert torch.equal(pairs, pairs.triu(1))
        for i in range(FIELDS):
            for j in range(i + 1, FIELDS):
                alone = torch.zeros_like(v)
                alone[:, [i, j]] = v[:, [i, j]]
                rest = model.terms(alone, torch.zeros_like(w)).rest
                found = model(alone, torch.zeros_like(w)) - (0 if rest is None else rest)
                torch.testing.assert_close(pairs[:, i, j], found)
    assert np.abs(pairs.numpy()).max() > 0.1


@pytest.mark.parametrize("name", ["finalmlp", "wukong", "autoint"])
def test_a_deep_model_has_no_terms_of_its_own(name: str) -> None:
    model, v, w = make(name)
    terms = model.terms(v, w)
    assert terms.first is None
    assert terms.pairs is None
