from pathlib import Path

import numpy as np
import pytest

from llactr_core.errors import ArtifactError
from llactr_core.semantics.canary import FILE, Canary, canary_texts, distances

RANDOM = np.random.default_rng(0)
BASE = RANDOM.normal(size=(4, 64)).astype(np.float32)
ADAPTED = (BASE + RANDOM.normal(size=(4, 64)).astype(np.float32)).astype(np.float32)
CANARY = Canary(("gender", "city", "a", "b"), BASE, ADAPTED)


def noisy(vectors: np.ndarray, size: float) -> np.ndarray:
    return (vectors + size * np.random.default_rng(1).normal(size=vectors.shape)).astype(np.float32)


def test_what_was_tuned_passes_also_with_an_engines_noise() -> None:
    CANARY.check(BASE, ADAPTED)
    CANARY.check(3 * BASE, 0.5 * ADAPTED)  # an engine need not normalise
    CANARY.check(noisy(BASE, 0.01), noisy(ADAPTED, 0.01))


def test_one_wrong_vector_is_enough_to_refuse() -> None:
    served = ADAPTED.copy()
    served[1] = BASE[1]
    with pytest.raises(ArtifactError, match=r"wrong vector for the canary 'city'.*nothing was published"):
        CANARY.check(BASE, served)
    with pytest.raises(ArtifactError, match="wrong vector"):
        CANARY.check(BASE, BASE)


def test_an_adapter_must_differ_from_the_untuned_model_by_more_than_noise() -> None:
    barely = noisy(BASE, 1e-2)
    canary = Canary(CANARY.texts, BASE, barely)
    canary.check(BASE, barely)
    with pytest.raises(ArtifactError, match="no effect"):
        canary.check(noisy(BASE, 2e-2), barely)
    with pytest.raises(ArtifactError, match="no effect"):
        Canary(CANARY.texts, BASE, BASE).check(BASE, BASE)


@pytest.mark.parametrize("served", [ADAPTED[:, :32], ADAPTED[:2], np.full_like(ADAPTED, np.nan)])
def test_vectors_of_another_model_are_refused(served: np.ndarray) -> None:
    with pytest.raises(ArtifactError, match="another model"):
        CANARY.check(BASE, served)


def test_a_saved_canary_is_read_again_and_equal_ones_are_equal_bytes(tmp_path: Path) -> None:
    CANARY.save(tmp_path)
    content = (tmp_path / FILE).read_bytes()
    again = Canary.load(tmp_path)
    assert again.texts == CANARY.texts
    np.testing.assert_array_equal(again.base, BASE)
    np.testing.assert_array_equal(again.adapted, ADAPTED)
    again.save(tmp_path)
    assert (tmp_path / FILE).read_bytes() == content


@pytest.mark.parametrize(
    "damage", [lambda c: c[:-9], lambda _: b"", lambda c: c.replace(b"llactr.canary/1", b"llactr.canary/9")]
)
def test_a_missing_or_damaged_canary_is_refused(tmp_path: Path, damage) -> None:
    with pytest.raises(ArtifactError, match="refresh the fields"):
        Canary.load(tmp_path)
    CANARY.save(tmp_path)
    (tmp_path / FILE).write_bytes(damage((tmp_path / FILE).read_bytes()))
    with pytest.raises(ArtifactError, match="refresh the fields"):
        Canary.load(tmp_path)


def test_a_canary_needs_texts_and_fitting_vectors() -> None:
    with pytest.raises(ArtifactError, match="0 texts"):
        Canary((), BASE, ADAPTED)
    with pytest.raises(ArtifactError, match="two vectors for each"):
        Canary(("a",), BASE, ADAPTED)


def test_texts_are_the_fields_and_a_few_prompts_from_all_over() -> None:
    prompts = [f"p{i}" for i in range(100)]
    assert canary_texts(["f", "g"], prompts) == ("f", "g", *(f"p{i}" for i in range(0, 96, 12)))
    assert canary_texts(["f", "p1"], prompts[:3]) == ("f", "p1", "p0", "p2")


def test_distances_of_equal_opposite_and_zero_vectors() -> None:
    one = np.array([[1, 2], [1, 2], [0, 0]], dtype=np.float32)
    other = np.array([[2, 4], [-1, -2], [1, 1]], dtype=np.float32)
    np.testing.assert_allclose(distances(one, other), [0, 2, 1], atol=1e-12)
