"""A tuning leaves an adapter with its canary, PEFT's own reading of it; loading it again is checked."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from llactr_core.errors import ArtifactError
from llactr_core.schema import Field, Schema
from llactr_core.semantics.build import build_field_table
from llactr_core.semantics.canary import Canary
from llactr_core.semantics.encoder import TextEncoder
from llactr_core.semantics.options import SsftOptions
from llactr_core.semantics.tuned_model import load_tuned, tune_model
from llactr_core.semantics.tuning.adapter import load_adapter
from llactr_core.semantics.tuning.null_adapter import null_adapter

SCHEMA = Schema(name="two", fields=(Field(name="colour"), Field(name="count", description="a measured number")))
SAMPLES = {"colour": ["red", "green", "blue", "black", "white"], "count": ["1.5", "22", "31", "4", "5.75"]}
TINY = SsftOptions(epochs=3, batch_size=4, learning_rate=0.01, precision="float32", device="cpu", rank=4, held_out=0)


@pytest.fixture(scope="module")
def adapter(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tuned") / "adapter"
    tuned = tune_model(SCHEMA, SAMPLES, str(tiny_llama), TINY, folder)
    assert tuned.adapter == folder
    assert tuned.metrics["best_epoch"] > 0
    return folder


def test_the_references_are_those_of_our_own_adapter(tiny_llama: Path, adapter: Path) -> None:
    """PEFT read the saved files for the canary; our injected adapter gives the same vectors."""
    canary = Canary.load(adapter)
    assert canary.texts[:2] == ("colour", "a measured number")
    assert 2 < len(canary.texts) <= 10
    encoder = TextEncoder.load(str(tiny_llama), device="cpu")
    np.testing.assert_allclose(encoder.embed(canary.texts), canary.base, atol=1e-6)
    load_adapter(encoder, adapter)
    np.testing.assert_allclose(encoder.embed(canary.texts), canary.adapted, atol=1e-6)
    assert np.abs(canary.base - canary.adapted).max() > 0.01


def test_a_load_that_gives_other_vectors_is_refused(tiny_llama: Path, adapter: Path, tmp_path: Path) -> None:
    assert load_tuned(str(tiny_llama), adapter, "cpu").embed(["colour"]).shape == (1, 32)
    other = tmp_path / "other"
    tune_model(SCHEMA, SAMPLES, str(tiny_llama), TINY.model_copy(update={"seed": 5}), other)
    shutil.copy(adapter / "canary.safetensors", other)
    with pytest.raises(ArtifactError, match="wrong vector for the canary"):
        load_tuned(str(tiny_llama), other, "cpu")
    (other / "canary.safetensors").unlink()
    with pytest.raises(ArtifactError, match="cannot read the canary"):
        load_tuned(str(tiny_llama), other, "cpu")


def test_where_the_untuned_model_is_the_best_no_adapter_is_kept(tiny_llama: Path, tmp_path: Path) -> None:
    harmless = TINY.model_copy(update={"learning_rate": 1e-12, "epochs": 1, "held_out": 0.2})
    table = build_field_table(SCHEMA, SAMPLES, str(tiny_llama), harmless, adapter_dir=tmp_path / "adapter")
    assert table.metrics["best_epoch"] == 0
    assert not (tmp_path / "adapter").exists()
    assert table.provenance["adapter_digest"] is None
    untuned = build_field_table(SCHEMA, SAMPLES, str(tiny_llama), harmless.model_copy(update={"skip": True}))
    np.testing.assert_array_equal(table.vectors, untuned.vectors)


@pytest.mark.parametrize("model", ["all-MiniLM-L6-v2", "tiny-llama"])
def test_an_adapter_of_zeros_changes_nothing(tiny_llama: Path, tmp_path: Path, model: str) -> None:
    name = str(tiny_llama) if model == "tiny-llama" else model
    folder = null_adapter(name, tmp_path)
    encoder = TextEncoder.load(name, device="cpu")
    before = encoder.embed(["some text"])
    load_adapter(encoder, folder)  # refuses names and shapes that do not fit
    np.testing.assert_array_equal(encoder.embed(["some text"]), before)
    assert null_adapter(name, tmp_path) == folder
