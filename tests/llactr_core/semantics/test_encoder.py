import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from llactr_core.errors import ArtifactError, OptionError
from llactr_core.semantics.encoder import TextEncoder, buckets, choose_device, has_bfloat16, pool
from llactr_core.semantics.options import SsftOptions
from llactr_core.semantics.tuning.adapter import add_adapter, lora_parameters

TEXTS = ["user id", "a much longer description of a field than the others have", "x", "price in euro", "x"]


@pytest.fixture(scope="module")
def minilm() -> TextEncoder:
    return TextEncoder.load("all-MiniLM-L6-v2", device="cpu")


@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
def test_pooling_is_right_for_left_and_right_padding(pooling: str):
    tokens = torch.arange(1.0, 7.0).reshape(3, 2)  # [T, D]
    padding = torch.full((2, 2), 99.0)
    expected = {"mean": tokens.mean(0), "cls": tokens[0], "last": tokens[-1]}[pooling]
    hidden = torch.stack([torch.cat([tokens, padding]), torch.cat([padding, tokens])])
    mask = torch.tensor([[1, 1, 1, 0, 0], [0, 0, 1, 1, 1]])
    torch.testing.assert_close(pool(hidden, mask, pooling), torch.stack([expected, expected]))


def test_minilm_agrees_with_a_plain_reading_of_its_model_card(minilm: TextEncoder):
    vectors = minilm.embed(TEXTS)
    assert vectors.dtype == np.float32
    assert vectors.shape == (5, 384)
    for text, vector in zip(TEXTS, vectors, strict=True):
        encoded = minilm.tokenizer(text, return_tensors="pt")
        with torch.no_grad():
            mean = minilm.model(**encoded).last_hidden_state[0].mean(0)
        np.testing.assert_allclose(vector, (mean / mean.norm()).numpy(), atol=2e-6)
    np.testing.assert_array_equal(vectors, minilm.embed(TEXTS))
    assert vectors[0] @ minilm.embed(["customer number"])[0] > vectors[0] @ vectors[3]


def test_causal_vectors_do_not_depend_on_their_neighbours_padding(tiny_llama: Path):
    encoder = TextEncoder.load(str(tiny_llama), device="cpu")
    together = encoder.embed(TEXTS)
    alone = np.concatenate([encoder.embed([text]) for text in TEXTS])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    assert encoder.tokenize(["x"])[0][0] == encoder.tokenizer.bos_token_id


def test_no_texts_give_no_vectors(minilm: TextEncoder):
    assert minilm.embed([]).shape == (0, 384)


def test_texts_are_cut_at_the_limit(tiny_llama: Path):
    encoder = TextEncoder.load(str(tiny_llama), device="cpu")
    assert [len(row) for row in encoder.tokenize(["y" * 5000])] == [254]
    assert np.isfinite(encoder.embed(["y" * 5000])).all()


def test_buckets_cover_every_index_once_within_the_budget():
    lengths = [3, 50, 7, 7, 1, 20, 3]
    batches = buckets(lengths, 40)
    assert sorted(i for batch in batches for i in batch) == list(range(7))
    assert batches[0] == [1]
    assert all(len(batch) * max(lengths[i] for i in batch) <= 40 for batch in batches[1:])


def test_answer_log_probs_equal_a_token_by_token_reading(tiny_llama: Path):
    encoder = TextEncoder.load(str(tiny_llama), device="cpu")
    prompts = encoder.tokenize(["The feature is: 3.", "The feature is: blue and long."])
    answers = encoder.answers(["age", "colour"])
    assert all(answer[-1] == encoder.tokenizer.eos_token_id for answer in answers)
    with torch.no_grad():
        found = encoder.answer_log_probs(prompts, answers)
        for value, prompt, answer in zip(found, prompts, answers, strict=True):
            logits = encoder.model(torch.tensor([prompt + answer])).logits[0]
            steps = [logits[len(prompt) + i - 1].log_softmax(-1)[token].item() for i, token in enumerate(answer)]
            assert value.item() == pytest.approx(sum(steps), abs=1e-4)


@pytest.mark.parametrize("bfloat16", [False, True])
@pytest.mark.parametrize("model", ["tiny-llama", "all-MiniLM-L6-v2"])
def test_recomputed_activations_give_the_same_gradients_from_less_memory(tiny_llama: Path, model: str, bfloat16: bool):
    gradients, kept = [], []
    for again in (False, True):
        encoder = TextEncoder.load(str(tiny_llama) if model == "tiny-llama" else model, device="cpu")
        add_adapter(encoder, SsftOptions(rank=4))
        encoder.bfloat16 = bfloat16
        if again:
            assert encoder.recompute_activations()
        sizes: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t, to=sizes: (to.append(t.numel()), t)[1], lambda t: t):
            loss = encoder.forward(encoder.tokenize(TEXTS))[:, 0].sum()
        loss.backward()
        kept.append(sum(sizes))
        gradients.append({name: value.grad for name, value in lora_parameters(encoder.model).items()})
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-6, atol=1e-6)
    assert max(value.abs().max() for value in gradients[0].values()) > 1e-4
    assert kept[1] < kept[0] / 3


@pytest.mark.parametrize("model", ["tiny-llama", "all-MiniLM-L6-v2"])
def test_weights_rounded_once_give_the_bits_of_weights_rounded_at_every_product(tiny_llama: Path, model: str):
    encoder = TextEncoder.load(str(tiny_llama) if model == "tiny-llama" else model, device="cpu")
    add_adapter(encoder, SsftOptions(rank=4))
    before = {name: value.clone() for name, value in encoder.model.named_parameters()}

    def gradients() -> list[torch.Tensor]:
        encoder.model.zero_grad()
        vectors = encoder.forward(encoder.tokenize(TEXTS))
        vectors[:, 0].sum().backward()
        return [vectors.detach(), *(value.grad for value in lora_parameters(encoder.model).values())]

    encoder.bfloat16 = True
    each_time = gradients()
    with encoder.in_bfloat16():
        once = gradients()
    assert not encoder.bfloat16
    assert all(map(torch.equal, each_time, once))
    after = dict(encoder.model.named_parameters())
    assert before.keys() == after.keys()
    assert all(torch.equal(value, after[name]) and value.dtype == after[name].dtype for name, value in before.items())


def test_a_model_whose_layers_are_unknown_says_so(tiny_llama: Path):
    encoder = TextEncoder.load(str(tiny_llama), device="cpu")
    encoder.model.model.layers = torch.nn.ModuleList()
    assert not encoder.recompute_activations()


def test_weights_in_bfloat16_take_half_the_memory_and_give_nearly_the_same_vectors(tiny_llama: Path):
    full, half = (TextEncoder.load(str(tiny_llama), device="cpu", weights=t) for t in (torch.float32, torch.bfloat16))
    size, halved = (sum(p.numel() * p.element_size() for p in e.model.parameters()) for e in (full, half))
    assert halved == size / 2
    found = half.embed(TEXTS)
    assert found.dtype == np.float32
    assert (found * full.embed(TEXTS)).sum(1).min() > 0.999


def test_an_encoder_has_no_answers(minilm: TextEncoder):
    with pytest.raises(OptionError, match="language-model head"):
        minilm.answer_log_probs([[1]], [[2]])


def test_lacking_weights_are_refused_instead_of_being_random(tiny_llama: Path, tmp_path: Path):
    shutil.copytree(tiny_llama, tmp_path / "m")
    tensors = load_file(tmp_path / "m" / "model.safetensors")
    del tensors["model.layers.1.self_attn.q_proj.weight"]
    save_file(tensors, tmp_path / "m" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ArtifactError, match=r"lacks the weights model\.layers\.1"):
        TextEncoder.load(str(tmp_path / "m"), device="cpu")


def test_damaged_files_are_refused(tiny_llama: Path, tmp_path: Path):
    shutil.copytree(tiny_llama, tmp_path / "m")
    weights = tmp_path / "m" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ArtifactError, match="cannot load the language model 'm'"):
        TextEncoder.load(str(tmp_path / "m"), device="cpu")
    (tmp_path / "m" / "config.json").write_text(json.dumps([]))
    with pytest.raises(ArtifactError, match="no JSON object"):
        TextEncoder.load(str(tmp_path / "m"), device="cpu")


def test_devices():
    assert choose_device("cpu").type == "cpu"
    assert isinstance(has_bfloat16(torch.device("cpu")), bool)
    if not torch.cuda.is_available():
        assert choose_device("auto").type == "cpu"
        with pytest.raises(OptionError, match="no GPU"):
            choose_device("cuda")
