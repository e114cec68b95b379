"""The aggregation encoder, its alignment, and what is served of it, against slow references."""

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy.special import erf
from takeaway import LARR, scene_table, takeaway

from llactr_core.bundle import BIAS, PAIRS, SCENES, TABLE
from llactr_core.data.encoding import Encoded
from llactr_core.data.splits import Splits
from llactr_core.enhancers.larr.aggregate import Form, SceneEncoder, aligned
from llactr_core.enhancers.larr.larr import Larr
from llactr_core.models.registry import BACKBONES
from llactr_core.schema import Schema
from llactr_core.semantics.semantics import Semantics
from llactr_core.served import ServedModel, Weights
from llactr_core.training.build import build_model
from llactr_core.training.prepared import Prepared
from llactr_core.training.serving import exact

Floats = npt.NDArray[np.float64]
FORM = Form(fields=3, text_width=6, width=8, layers=2, heads=2)


def norm(x: Floats, part: dict[str, Floats], name: str) -> Floats:
    scaled = (x - x.mean()) / np.sqrt(x.var() + 1e-5)
    return scaled * part[f"{name}.weight"] + part[f"{name}.bias"]


def linear(x: Floats, part: dict[str, Floats], name: str) -> Floats:
    return part[f"{name}.weight"] @ x + part[f"{name}.bias"]


def gelu(x: Floats) -> Floats:
    return x * 0.5 * (1 + erf(x / np.sqrt(2)))


def reference(encoder: SceneEncoder, rows: Floats) -> Floats:
    """One scene [S, D'] -> [d + 1], place by place and head by head."""
    part = {name: value.detach().double().numpy() for name, value in encoder.state_dict().items()}
    x = [part["agg"], *rows]
    heads, width = FORM.heads, FORM.width
    for layer in range(FORM.layers):
        at = f"layers.{layer}"
        normed = [norm(token, part, f"{at}.norm") for token in x]
        changed = []
        for token, its in zip(x, normed, strict=True):
            query = linear(its, part, f"{at}.query").reshape(heads, -1)
            pairs = [linear(other, part, f"{at}.key_value").reshape(2, heads, -1) for other in normed]
            seen = []
            for head in range(heads):
                scores = np.array([query[head] @ pair[0, head] for pair in pairs]) / np.sqrt(width // heads)
                share = np.exp(scores - scores.max()) / np.exp(scores - scores.max()).sum()
                seen.append(sum(s * pair[1, head] for s, pair in zip(share, pairs, strict=True)))
            token = token + linear(np.concatenate(seen), part, f"{at}.out")
            inner = gelu(linear(norm(token, part, f"{at}.feed_forward.0"), part, f"{at}.feed_forward.1"))
            changed.append(token + linear(inner, part, f"{at}.feed_forward.3"))
        x = changed
    return linear(gelu(linear(norm(x[0], part, "out.0"), part, "out.1")), part, "out.3")


def test_the_encoder_is_a_transformer_that_sees_both_ways() -> None:
    torch.manual_seed(0)
    encoder = SceneEncoder(FORM, 5)
    for parameter in encoder.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    scenes = torch.randn(4, 3, 8)
    expected = [reference(encoder, scene.double().numpy()) for scene in scenes]
    np.testing.assert_allclose(encoder(scenes).detach().numpy(), expected, rtol=1e-4, atol=1e-4)


def test_the_alignment_is_a_symmetric_infonce() -> None:
    random = np.random.default_rng(0)
    a, b = random.normal(size=(5, 4)), random.normal(size=(5, 4))
    total = 0.0
    for one, other in ((a, b), (b, a)):
        for i in range(5):
            cosines = [one[i] @ o / np.linalg.norm(one[i]) / np.linalg.norm(o) / 0.3 for o in other]
            total += np.log(np.exp(cosines).sum()) - cosines[i]
    found = aligned(torch.from_numpy(a), torch.from_numpy(b), 0.3)
    assert float(found) == pytest.approx(total / 10)


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> tuple[Splits, Schema]:
    return takeaway(tmp_path_factory.mktemp("takeaway"), 600)


@pytest.mark.parametrize("name", BACKBONES)
def test_what_is_served_adds_up_to_the_models_logit(log: tuple[Splits, Schema], name: str) -> None:
    data = Prepared.read(*log, scene_table())
    options = LARR.model_copy(update={"backbone": name, "backbone_options": {}})
    model = build_model(data.encoder, Semantics(values=scene_table()), options).eval()
    enhancer = model.enhancer
    assert isinstance(enhancer, Larr)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    ids = data.train.ids[:7]
    with torch.no_grad():
        logit, _ = model(ids, None)
        own = exact(model)
        tensors = {name: own.tensors[name].numpy() for name in (BIAS, PAIRS, SCENES) if name in own.tensors}
        weights = Weights.of(own.tensors[TABLE].numpy(), tensors, options.width, own.graphs, data.encoder)
        served = ServedModel(weights, data.encoder)
        for _ in range(2):  # scenes are encoded, and then known
            np.testing.assert_allclose(served.logits_of(Encoded(ids.numpy(), None)), logit, rtol=1e-4, atol=1e-4)
