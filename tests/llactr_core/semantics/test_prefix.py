"""Reading a shared beginning once must change nothing but the time it takes."""

from pathlib import Path

import pytest
import torch

from llactr_core.semantics.encoder import TextEncoder
from llactr_core.semantics.options import SsftOptions
from llactr_core.semantics.prefix import common_prefix
from llactr_core.semantics.tuning.adapter import add_adapter, lora_parameters

TEXTS = ["The feature is: 3.", "The feature is: blue and rather long.", "The feature is: x", "The feature is: 3."]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([[1, 2, 3], [1, 2, 4]], 2),
        ([[1, 2, 3], [1, 2, 3]], 2),
        ([[1, 2], [1, 2, 3, 4]], 1),
        ([[5, 2], [1, 2]], 0),
        ([[1], [1, 2]], 0),
        ([[1, 2, 3]], 2),
        ([[1, 9, 3], [1, 2, 7], [1, 9, 3]], 1),
    ],
    ids=str,
)
def test_every_row_keeps_a_token_of_its_own(rows: list[list[int]], expected: int):
    assert common_prefix(rows) == expected


@pytest.mark.parametrize("pooling", ["last", "mean", "cls"])
def test_vectors_and_gradients_are_those_of_reading_every_row_whole(tiny_llama: Path, pooling: str):
    encoder = TextEncoder.load(str(tiny_llama), device="cpu")
    encoder.template = type(encoder.template)(**{**encoder.template.to_json(), "pooling": pooling})
    add_adapter(encoder, SsftOptions(rank=4))
    rows = encoder.tokenize(TEXTS)

    def read() -> list[torch.Tensor]:
        encoder.model.zero_grad()
        vectors = encoder.forward(rows)
        vectors[:, :5].square().sum().backward()
        return [vectors.detach(), *(value.grad for value in lora_parameters(encoder.model).values())]

    whole = read()
    assert encoder.share_prefix(rows)
    lengths: list[int] = []
    hook = encoder.model.base_model.layers[0].register_forward_pre_hook(
        lambda _, given: lengths.append(given[0].shape[1])
    )
    parts = read()
    hook.remove()
    assert lengths == [common_prefix(rows), max(map(len, rows)) - common_prefix(rows)]
    torch.testing.assert_close(parts, whole, rtol=1e-5, atol=1e-6)
    assert max(value.abs().max() for value in whole[1:]) > 1e-4


def test_an_encoder_whose_tokens_see_all_others_shares_nothing():
    encoder = TextEncoder.load("all-MiniLM-L6-v2", device="cpu")
    rows = encoder.tokenize([f"a long beginning that all of these texts have in common {i}" for i in range(3)])
    assert not encoder.share_prefix(rows)
    assert not encoder.share_prefix([])


@pytest.mark.parametrize("weights", [torch.float32, torch.bfloat16], ids=str)
def test_a_decoder_made_to_look_ahead_is_found_out(tiny_llama: Path, weights: torch.dtype):
    encoder = TextEncoder.load(str(tiny_llama), device="cpu", weights=weights)
    rows = encoder.tokenize(TEXTS)
    assert encoder.share_prefix(rows)
    for layer in encoder.model.base_model.layers:
        layer.register_forward_hook(lambda _, __, output: output + output.mean(1, keepdim=True))
    assert not encoder.share_prefix(rows)
