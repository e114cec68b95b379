import math
from pathlib import Path

import numpy as np
import pytest
import torch

from llactr_core.semantics.encoder import TextEncoder
from llactr_core.semantics.tuning.examples import Example
from llactr_core.semantics.tuning.loss import Task, contrastive_log_probs, soft_cross_entropy


def _reference(prompts: np.ndarray, fields: np.ndarray, targets: np.ndarray, temperature: float) -> float:
    """-sum_k t_k log softmax_k(cos / tau), one value after the other, in float64."""
    total = 0.0
    for prompt, target in zip(prompts.astype(float), targets.astype(float), strict=True):
        scores = [p @ prompt / np.linalg.norm(p) / np.linalg.norm(prompt) / temperature for p in fields.astype(float)]
        top = max(scores)
        log_sum = top + math.log(sum(math.exp(s - top) for s in scores))
        total -= sum(t * (s - log_sum) for t, s in zip(target, scores, strict=True))
    return total / len(prompts)


def test_the_contrastive_loss_is_the_papers_formula_with_spread_targets():
    random = np.random.default_rng(0)
    prompts, fields = random.normal(size=(6, 5)).astype("f4"), random.normal(size=(4, 5)).astype("f4") * 3
    targets = np.eye(4, dtype="f4")[[0, 1, 2, 3, 0, 1]]
    targets[5] = [0.5, 0.5, 0, 0]
    log_probs = contrastive_log_probs(torch.from_numpy(prompts), torch.from_numpy(fields), 0.02)
    assert soft_cross_entropy(log_probs, torch.from_numpy(targets)).item() == pytest.approx(
        _reference(prompts, fields, targets, 0.02), rel=1e-5
    )


def test_half_precision_vectors_are_compared_in_float32():
    vectors = torch.randn(3, 8, generator=torch.Generator().manual_seed(0)).bfloat16()
    log_probs = contrastive_log_probs(vectors, vectors, 0.02)
    assert log_probs.dtype == torch.float32
    assert log_probs.argmax(-1).tolist() == [0, 1, 2]


EXAMPLES = [Example("red", (0,)), Example("3", (1,)), Example("unknown", (0, 1))]


def _task(path: Path, objective: str) -> Task:
    encoder = TextEncoder.load(str(path), device="cpu")
    return Task(encoder, objective, 0.02, encoder.tokenize(["colour", "count"]), encoder.answers(["colour", "count"]))


def test_the_generative_loss_spreads_over_the_fields_of_a_value(tiny_llama: Path):
    task = _task(tiny_llama, "generative")
    prompts = task.encoder.tokenize([example.value for example in EXAMPLES])
    with torch.no_grad():
        colour = task.encoder.answer_log_probs(prompts, [task.answers[0]] * 3)
        count = task.encoder.answer_log_probs(prompts, [task.answers[1]] * 3)
        loss = task.loss(prompts, EXAMPLES).item()
    expected = -(colour[0] + count[1] + (colour[2] + count[2]) / 2) / 3
    assert loss == pytest.approx(expected.item(), rel=1e-5)
    evaluation = task.evaluate(prompts, EXAMPLES)
    assert evaluation.loss == pytest.approx(loss, rel=1e-5)
    chosen = torch.stack([colour, count], 1).argmax(1).tolist()
    right = [c in e.fields for c, e in zip(chosen, EXAMPLES, strict=True)]
    assert evaluation.accuracy == pytest.approx(np.mean(right))
    assert right[2]


def test_both_is_the_sum(tiny_llama: Path):
    tasks = [_task(tiny_llama, objective) for objective in ("contrastive", "generative", "both")]
    prompts = tasks[0].encoder.tokenize([example.value for example in EXAMPLES])
    with torch.no_grad():
        one, two, both = (task.loss(prompts, EXAMPLES).item() for task in tasks)
    assert both == pytest.approx(one + two, rel=1e-5)
    assert tasks[2].evaluate(prompts, EXAMPLES).loss == pytest.approx(both, rel=1e-4)


def test_confusion_counts_a_shared_value_where_it_is_right(tiny_llama: Path):
    task = _task(tiny_llama, "contrastive")
    evaluation = task.evaluate(task.encoder.tokenize(["colour", "colour", "colour"]), EXAMPLES)
    # Every prompt is the text of field 0: values of field 0 and shared ones are right, that of field 1 is wrong.
    assert evaluation.confusion == [[2, 0], [1, 0]]
    assert evaluation.accuracy == pytest.approx(2 / 3)
    assert evaluation.field_accuracy == [1.0, 0.5]


def test_a_field_without_judged_values_has_no_accuracy(tiny_llama: Path):
    task = _task(tiny_llama, "contrastive")
    assert task.evaluate(task.encoder.tokenize(["colour"]), EXAMPLES[:1]).field_accuracy == [1.0, None]


@pytest.mark.parametrize("objective", ["contrastive", "both"])
def test_the_field_names_are_read_once_per_step(tiny_llama: Path, monkeypatch: pytest.MonkeyPatch, objective: str):
    task = _task(tiny_llama, objective)
    read: list[list[list[int]]] = []
    forward = task.encoder.forward
    monkeypatch.setattr(task.encoder, "forward", lambda rows: (read.append(list(rows)), forward(rows))[1])
    task.loss(task.encoder.tokenize([example.value for example in EXAMPLES]), EXAMPLES)
    assert sorted(map(len, read)) == [2, 3]
    assert list(task.fields) in read


@pytest.mark.parametrize("objective", ["contrastive", "generative", "both"])
def test_a_value_drawn_several_times_counts_several_times_and_is_read_once(
    tiny_llama: Path, monkeypatch: pytest.MonkeyPatch, objective: str
):
    task = _task(tiny_llama, objective)
    drawn = [EXAMPLES[i] for i in (0, 2, 0, 1, 2, 0)]
    with torch.no_grad():
        times = {example: task.loss(task.encoder.tokenize([example.value]), [example]).item() for example in EXAMPLES}
        read: list[int] = []
        model = type(task.encoder.model)
        forward = model.forward if objective == "generative" else type(task.encoder.model.base_model).forward
        owner = model if objective == "generative" else type(task.encoder.model.base_model)
        monkeypatch.setattr(
            owner, "forward", lambda self, **given: (read.append(len(given["input_ids"])), forward(self, **given))[1]
        )
        loss = task.loss(task.encoder.tokenize([example.value for example in drawn]), drawn).item()
    assert loss == pytest.approx(np.mean([times[example] for example in drawn]), rel=1e-5)
    assert max(read) <= 4  # three values, one of which has two fields
