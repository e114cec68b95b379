"""The gradient of stage 1: what it reaches, and that reading in parts does not change it."""

from pathlib import Path

import pytest
import torch
from tiny_model import save_tiny_model

from llactr_core.enhancers.base import Enhancer
from llactr_core.enhancers.ctrl.aligner import Aligner, Distinct
from llactr_core.enhancers.ctrl.options import CtrlOptions
from llactr_core.enhancers.model import CTRModel
from llactr_core.models.base import Shape
from llactr_core.models.embedding import FeatureEmbedding
from llactr_core.models.registry import BACKBONES, build_backbone
from llactr_core.semantics.encoder import TextEncoder

K, WIDTH, V = 3, 4, 30
SENTENCES = [
    "this is a user.",
    "this is a user, job is writer. this is a film, title is alien.",
    "this is a user. this is a film, title is heat.",
    "this is a user.",
    "a",
    "row of b",
]
IDS = torch.randint(0, V, (len(SENTENCES), K), generator=torch.Generator().manual_seed(1), dtype=torch.int32)


@pytest.fixture(scope="module")
def language_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


def aligner_of(path: Path, backbone: str, tokens_at_once: int = 4096) -> tuple[Aligner, Distinct]:
    torch.manual_seed(0)
    body = build_backbone(backbone, Shape(K, WIDTH, (None,) * K), {})
    embedding = FeatureEmbedding(V, WIDTH, torch.arange(K), BACKBONES[backbone].first_order)
    torch.nn.init.normal_(embedding.table, std=0.5)
    encoder = TextEncoder.load(str(path), device="cpu")
    options = CtrlOptions(width=8, subspaces=2, tokens_at_once=tokens_at_once)
    return Aligner(CTRModel(embedding, body, Enhancer()), encoder, options), Distinct.of(encoder, SENTENCES)


def gradients(aligner: Aligner) -> dict[str, torch.Tensor]:
    return {name: p.grad for name, p in aligner.named_parameters() if p.grad is not None}


def test_equal_sentences_are_read_once(language_model: Path) -> None:
    _, sentences = aligner_of(language_model, "fm")
    assert len(sentences.tokens) == 5
    assert sentences.text_of.tolist() == [0, 1, 2, 0, 3, 4]


def test_the_cached_gradient_is_the_direct_one(language_model: Path) -> None:
    whole, sentences = aligner_of(language_model, "autoint")
    parts, _ = aligner_of(language_model, "autoint", tokens_at_once=64)
    lengths = [len(row) for row in sentences.tokens]
    assert sum(lengths) > 64
    losses = [one.backward(IDS, None, sentences) for one in (whole, parts)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-6)
    direct, cached = gradients(whole), gradients(parts)
    assert direct.keys() == cached.keys()
    for name, gradient in direct.items():
        torch.testing.assert_close(cached[name], gradient, rtol=1e-6, atol=1e-6, msg=name)


@pytest.mark.parametrize("backbone", ["fm", "deepfm", "autoint"])
def test_both_models_learn_and_nothing_else(language_model: Path, backbone: str) -> None:
    aligner, sentences = aligner_of(language_model, backbone)
    aligner.backward(IDS, None, sentences)
    moved = {name for name, gradient in gradients(aligner).items() if gradient.abs().max() > 0}
    frozen = {name for name, p in aligner.named_parameters() if not p.requires_grad}
    assert frozen == {name for name, _ in aligner.named_parameters() if "pooler" in name}
    heads = {"fm": set(), "deepfm": {"backbone.dnn.layers.9.weight"}, "autoint": {"backbone.head.weight"}}[backbone]
    still = {name for name in aligner.trained if name not in moved}
    assert {name for name in still if not name.endswith("key.bias")} == heads  # a softmax does not see a key's bias
    touched = (aligner.table.grad[:, :WIDTH].abs().sum(1) > 0).nonzero().flatten().tolist()  # type: ignore[index]
    assert touched == IDS.unique().tolist()
