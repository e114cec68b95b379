from collections import Counter

import numpy as np

from llactr_core.semantics.tuning.examples import (
    Example,
    build_examples,
    epoch_batches,
    epoch_order,
    soft_targets,
    split_examples,
)


def test_a_shared_value_becomes_one_example_with_spread_targets():
    examples = build_examples({"a": ["yes", "no"], "b": ["yes"], "c": ["yes", "1"]}, ("a", "b", "c"), 10)
    assert examples == [Example("1", (2,)), Example("no", (0,)), Example("yes", (0, 1, 2))]
    expected = np.array([[0, 0, 1], [1, 0, 0], [1 / 3, 1 / 3, 1 / 3]], dtype=np.float32)
    np.testing.assert_array_equal(soft_targets(examples, 3), expected)


def test_values_that_look_alike_in_the_prompt_are_one():
    assert build_examples({"a": ["abcX"], "b": ["abcY", " "]}, ("a", "b"), 3) == [Example("abc", (0, 1))]


def _many() -> list[Example]:
    lists = {"a": [f"a{i}" for i in range(50)], "b": [f"b{i}" for i in range(10)], "c": ["c0", "a0"], "d": ["d0"]}
    return build_examples(lists, tuple("abcd"), 10)


def test_the_split_is_stratified_and_spares_small_fields():
    examples = _many()
    train, held_out = split_examples(examples, 4, 0.2, seed=1)
    counts = Counter(field for example in held_out for field in example.fields)
    assert counts == {0: 10, 1: 2}
    assert sorted(train + held_out, key=lambda e: e.value) == examples
    assert split_examples(examples[::-1], 4, 0.2, seed=1)[1] == held_out[::-1]
    assert split_examples(examples, 4, 0.2, seed=2)[1] != held_out
    assert split_examples(examples, 4, 0.0, seed=1) == (examples, [])


def test_an_epoch_is_balanced_over_fields_and_depends_on_seed_and_epoch_only():
    examples = build_examples({"a": [f"a{i}" for i in range(40)], "b": ["b0", "b1"]}, ("a", "b", "empty"), 10)
    order = epoch_order(examples, 3, size=42, seed=5, epoch=0)
    fields = Counter(examples[i].fields[0] for i in order)
    assert fields == {0: 21, 1: 21}
    assert order == epoch_order(examples, 3, 42, 5, 0)
    assert order != epoch_order(examples, 3, 42, 5, 1)
    assert order != epoch_order(examples, 3, 42, 6, 0)


def test_every_value_comes_before_any_comes_again():
    examples = build_examples({"a": [f"a{i}" for i in range(40)], "b": ["b0"]}, ("a", "b"), 10)
    drawn = [i for epoch in range(4) for i in epoch_order(examples, 2, 20, 0, epoch)]
    counts = Counter(i for i in drawn if examples[i].fields == (0,))
    assert len(counts) == 40
    assert set(counts.values()) == {1}


def test_batches_hold_every_draw_once_in_like_sizes_with_little_padding():
    random = np.random.default_rng(0)
    lengths = random.integers(10, 80, 500).tolist()
    order = random.integers(0, 500, 777).tolist()  # with repetition, as small fields are drawn
    batches = epoch_batches(order, lengths, 16, seed=1, epoch=0)
    assert Counter(i for batch in batches for i in batch) == Counter(order)
    assert {len(batch) for batch in batches} == {15, 16}

    def padding(parts: list[list[int]]) -> float:
        places = sum(len(part) * max(lengths[i] for i in part) for part in parts)
        return 1 - sum(lengths[i] for i in order) / places

    assert padding(batches) < 0.12 < 0.35 < padding([order[i : i + 16] for i in range(0, 777, 16)])
    longest = [max(lengths[i] for i in batch) for batch in batches]
    assert longest != sorted(longest)
    assert longest != sorted(longest, reverse=True)


def test_batches_depend_on_seed_and_epoch_only():
    lengths, order = list(range(100)), list(range(100))
    first = epoch_batches(order, lengths, 8, seed=1, epoch=0)
    assert first == epoch_batches(order, lengths, 8, seed=1, epoch=0)
    assert first != epoch_batches(order, lengths, 8, seed=1, epoch=1)
    assert first != epoch_batches(order, lengths, 8, seed=2, epoch=0)
    assert epoch_batches([5], lengths, 8, seed=1, epoch=0) == [[5]]
