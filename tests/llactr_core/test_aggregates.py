"""Scenes are encoded once while they are kept, and whatever was kept before, each has its own aggregate."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import pytest
import torch

from llactr_core.aggregates import Aggregates
from llactr_core.enhancers.larr.aggregate import Form, SceneEncoder
from llactr_core.export.onnx_file import onnx_of
from llactr_core.scene_rows import SceneRows

FIELDS, VALUES, WIDTH = 3, 12, 8
Floats = npt.NDArray[np.float32]


@pytest.fixture(scope="module")
def graph() -> bytes:
    torch.manual_seed(0)
    encoder = SceneEncoder(Form(FIELDS, 6, WIDTH, 1, 2), 5)
    for parameter in encoder.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return onnx_of(encoder.eval(), {"scenes": torch.zeros(2, FIELDS, WIDTH)}, ["aggregate"])


@pytest.fixture(scope="module")
def rows() -> SceneRows:
    table = np.random.default_rng(0).normal(size=(FIELDS * VALUES, WIDTH)).astype(np.float32)
    places = np.arange(FIELDS)
    return SceneRows(table, places, places, places * VALUES, FIELDS * VALUES, len(table))


def scenes(count: int, seed: int = 1) -> npt.NDArray[np.int32]:
    return np.random.default_rng(seed).integers(0, VALUES, (count, FIELDS)).astype(np.int32)


def one_by_one(rows: SceneRows, graph: bytes, ids: npt.NDArray[np.int32]) -> Floats:
    return np.concatenate([Aggregates(rows, graph).of_ids(ids[i : i + 1]) for i in range(len(ids))])


def test_kept_scenes_have_the_aggregates_of_new_ones(rows: SceneRows, graph: bytes) -> None:
    ids = scenes(60)
    expected = one_by_one(rows, graph, ids)
    assert len(np.unique(expected, axis=0)) == len(np.unique(ids, axis=0))
    aggregates = Aggregates(rows, graph)
    some, both = aggregates.of_ids(ids[:30]), aggregates.of_ids(np.concatenate([ids, ids]))
    np.testing.assert_allclose(some, expected[:30], atol=1e-6)
    np.testing.assert_allclose(both, np.concatenate([expected, expected]), atol=1e-6)
    np.testing.assert_array_equal(aggregates.of_ids(ids), both[:60])
    assert aggregates.of_ids(ids[:0]).shape == (0, 5)


@pytest.mark.parametrize("most", [1, 7, 40])
def test_when_there_are_too_many_to_keep_it_begins_anew(rows: SceneRows, graph: bytes, most: int) -> None:
    aggregates = Aggregates(rows, graph, most)
    for seed in range(6):
        ids = scenes(20, seed)
        np.testing.assert_allclose(aggregates.of_ids(ids), one_by_one(rows, graph, ids), atol=1e-6)


def test_an_overlays_scenes_are_other_ones(rows: SceneRows, graph: bytes) -> None:
    aggregates = Aggregates(rows, graph)
    before = aggregates.of_ids(scenes(5))
    later = np.full((2, WIDTH), 0.5, np.float32)
    extended = aggregates.with_rows(later)
    ids = scenes(5)
    ids[0, 0] = rows.size + 1  # the second value of the overlay
    found = extended.of_ids(ids)
    np.testing.assert_allclose(found[1:], before[1:], atol=1e-6)
    assert np.abs(found[0] - before[0]).max() > 1e-3
    np.testing.assert_array_equal(aggregates.of_ids(scenes(5)), before)


def test_threads_at_once_each_find_their_own(rows: SceneRows, graph: bytes) -> None:
    aggregates, ids = Aggregates(rows, graph, 50), scenes(400)
    expected = one_by_one(rows, graph, ids)

    def ask(start: int) -> None:
        part = slice(start, start + 10)
        np.testing.assert_allclose(aggregates.of_ids(ids[part]), expected[part], atol=1e-6)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(ask, list(range(0, 400, 10)) * 5))
