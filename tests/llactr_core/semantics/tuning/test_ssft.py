"""Tuning and building, with MiniLM where the vectors must mean something, else with a tiny causal model."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch

from llactr_core.errors import DataError, JobCancelled, OptionError, SchemaError
from llactr_core.progress import Progress, silent
from llactr_core.schema import Field, Schema
from llactr_core.semantics.build import build_field_table, embed_fields, recipe_of
from llactr_core.semantics.encoder import TextEncoder
from llactr_core.semantics.options import SsftOptions
from llactr_core.semantics.table import FieldTable
from llactr_core.semantics.tuning.checkpoint import checkpoint_path, load_state
from llactr_core.semantics.tuning.ssft import tune
from llactr_core.semantics.weights import model_digest

OBVIOUS = Schema(
    name="obvious",
    fields=(Field(name="colour"), Field(name="f2", description="measured number"), Field(name="f3")),
)
SAMPLES = {
    "colour": ["red", "green", "blue", "yellow", "black", "white", "orange", "purple", "brown", "pink"],
    "f2": ["12.5", "-3.1", "20.0", "31.7", "8.8", "-11.2", "0.4", "27.9", "15.3", "5.6"],
    "f3": ["France", "Germany", "Japan", "Brazil", "Kenya", "Canada", "India", "Norway", "Spain", "Peru"],
}
TINY = SsftOptions(epochs=3, batch_size=16, learning_rate=0.01, precision="float32", device="cpu", rank=4)


class Killed(Exception):
    """Stands for a kill -9: raised out of the progress callback."""


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> tuple[FieldTable, list[Progress], Path]:
    torch.set_num_threads(1)
    reports: list[Progress] = []
    adapter = tmp_path_factory.mktemp("adapter")
    options = SsftOptions(epochs=2, batch_size=16, device="cpu")
    table = build_field_table(OBVIOUS, SAMPLES, "all-MiniLM-L6-v2", options, reports.append, adapter_dir=adapter)
    return table, reports, adapter


def test_tuning_minilm_raises_held_out_accuracy(tuned: tuple[FieldTable, list[Progress], Path]):
    metrics = tuned[0].metrics
    assert metrics["held_out_values"] == 6
    assert metrics["held_out_accuracy"] >= 0.8 > 0.5 >= metrics["held_out_accuracy_before"]
    assert metrics["held_out_loss"] < metrics["held_out_loss_before"]
    assert [entry["epoch"] for entry in metrics["epochs"]] == [0, 1, 2]
    assert metrics["epochs"][2]["train_loss"] < metrics["epochs"][1]["train_loss"]
    assert np.sum(metrics["confusion"]["counts"]) == 6
    assert min(metrics[name] for name in ("seconds", "tokens", "tokens_per_second", "peak_memory_mib")) > 0
    assert 0 <= metrics["padding"] < 0.2
    assert metrics["held_out_macro_accuracy"] is None  # no field has twenty values
    assert metrics["field_accuracy"]["colour"]["values"] == 10


def test_the_table_says_where_it_comes_from(tuned: tuple[FieldTable, list[Progress], Path], tmp_path: Path):
    table = tuned[0]
    assert table.fields == OBVIOUS.names
    assert table.vectors.shape == (3, 384)
    assert table.model == "all-MiniLM-L6-v2"
    assert table.provenance["field_texts"] == ["colour", "measured number", "f3"]
    assert table.provenance["template"]["pooling"] == "mean"
    assert table.provenance["samples"] == {"colour": 10, "f2": 10, "f3": 10}
    json.dumps([dict(table.provenance), dict(table.metrics)])
    table.save(tmp_path / "t")
    assert FieldTable.load(tmp_path / "t") == table


def test_progress_goes_from_0_to_1_with_loss_and_time_left(tuned: tuple[FieldTable, list[Progress], Path]):
    reports = tuned[1]
    shares = [report.done for report in reports]
    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == (0, 1)
    steps = [report for report in reports if report.loss is not None]
    assert [report.step for report in steps] == list(range(1, len(steps) + 1))
    assert steps[0].eta_s > 0
    assert steps[-1].eta_s == 0


def test_the_saved_adapter_gives_the_tables_vectors(tuned: tuple[FieldTable, list[Progress], Path]):
    table, _, adapter = tuned
    np.testing.assert_array_equal(embed_fields(OBVIOUS, "all-MiniLM-L6-v2", adapter, device="cpu"), table.vectors)
    untuned = embed_fields(OBVIOUS, "all-MiniLM-L6-v2", device="cpu")
    assert np.abs(untuned - table.vectors).max() > 0.01


def test_skip_embeds_with_the_untuned_model(tiny_llama: Path):
    table = build_field_table(OBVIOUS, {}, str(tiny_llama), TINY.model_copy(update={"skip": True}))
    np.testing.assert_array_equal(table.vectors, embed_fields(OBVIOUS, str(tiny_llama), device="cpu"))
    assert table.metrics == {}
    assert table.provenance["adapter_digest"] is None
    assert table.provenance["model_digest"] == model_digest(tiny_llama)
    assert table.model == "tiny-llama"


@pytest.mark.parametrize("objective", ["contrastive", "generative", "both"])
def test_a_causal_model_learns_by_every_objective(tiny_llama: Path, objective: str):
    options = TINY.model_copy(update={"objective": objective})
    metrics = build_field_table(OBVIOUS, SAMPLES, str(tiny_llama), options).metrics
    losses = [entry["train_loss"] for entry in metrics["epochs"][1:]]
    assert losses[-1] < losses[0]
    assert metrics["held_out_loss"] < metrics["held_out_loss_before"]


def test_how_the_work_is_done_is_no_part_of_the_recipe_and_changes_no_result(tiny_llama: Path):
    again = TINY.model_copy(update={"checkpointing": "on"})
    plain, recomputed = (build_field_table(OBVIOUS, SAMPLES, str(tiny_llama), options) for options in (TINY, again))
    assert recomputed.recipe == plain.recipe
    np.testing.assert_allclose(recomputed.vectors, plain.vectors, atol=1e-5)


def test_weights_in_bfloat16_are_tuned_by_a_float32_adapter(tiny_llama: Path):
    encoder = TextEncoder.load(str(tiny_llama), device="cpu", weights=torch.bfloat16)
    options = TINY.model_copy(update={"precision": "bfloat16", "checkpointing": "on"})
    tuned = tune(encoder, OBVIOUS, SAMPLES, options, silent)
    assert {value.dtype for value in tuned.adapter.values()} == {torch.float32}
    assert tuned.metrics["precision"] == "bfloat16"
    assert tuned.metrics["held_out_loss"] < tuned.metrics["held_out_loss_before"] - 0.1


def test_a_model_that_cannot_compute_again_is_refused_only_where_it_must(tiny_llama: Path):
    encoder = TextEncoder.load(str(tiny_llama), device="cpu")
    encoder.recompute_activations = lambda: False
    with pytest.raises(OptionError, match="use 'auto' or 'off'") as caught:
        tune(encoder, OBVIOUS, SAMPLES, TINY.model_copy(update={"checkpointing": "on"}), silent)
    assert caught.value.field == "checkpointing"


def test_equal_inputs_give_equal_bits_and_the_seed_changes_them(tiny_llama: Path):
    model = str(tiny_llama)
    turned = {name: SAMPLES[name][::-1] for name in reversed(SAMPLES)}
    first, again = (build_field_table(OBVIOUS, samples, model, TINY) for samples in (SAMPLES, turned))
    assert first.version == again.version
    assert first.vectors.tobytes() == again.vectors.tobytes()
    other = build_field_table(OBVIOUS, SAMPLES, model, TINY.model_copy(update={"seed": 1}))
    assert other.vectors.tobytes() != first.vectors.tobytes()


@pytest.mark.parametrize(("stop_at", "objective"), [(2, "contrastive"), (8, "contrastive"), (12, "both")])
def test_a_killed_tuning_goes_on_to_the_same_bits(tiny_llama: Path, tmp_path: Path, stop_at: int, objective: str):
    options = TINY.model_copy(update={"objective": objective})
    whole = build_field_table(OBVIOUS, SAMPLES, str(tiny_llama), options)

    def kill(report: Progress) -> None:
        if report.step == stop_at:
            raise Killed

    with pytest.raises(Killed):
        build_field_table(OBVIOUS, SAMPLES, str(tiny_llama), options, kill, tmp_path)
    steps: list[int] = []
    resumed = build_field_table(
        OBVIOUS, SAMPLES, str(tiny_llama), options, lambda r: steps.append(r.step or 0), tmp_path
    )
    assert steps[-2] == 15  # 3 epochs of 5 steps
    assert 1 + (stop_at - 1) // 5 * 5 in steps[:2]  # it began at its epoch, not at the first
    assert resumed.vectors.tobytes() == whole.vectors.tobytes()
    assert resumed.version == whole.version
    assert [e["held_out_loss"] for e in resumed.metrics["epochs"]] == [
        e["held_out_loss"] for e in whole.metrics["epochs"]
    ]


def test_a_finished_tuning_is_not_done_again(tiny_llama: Path, tmp_path: Path):
    first = build_field_table(OBVIOUS, SAMPLES, str(tiny_llama), TINY, silent, tmp_path)
    reports: list[Progress] = []
    again = build_field_table(OBVIOUS, SAMPLES, str(tiny_llama), TINY, reports.append, tmp_path)
    assert again == first
    assert [report.stage for report in reports] == ["embed fields"]


def test_a_damaged_or_foreign_checkpoint_begins_anew(
    tiny_llama: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    first = build_field_table(OBVIOUS, SAMPLES, str(tiny_llama), TINY, silent, tmp_path)
    path = checkpoint_path(tmp_path, first.recipe)
    with caplog.at_level(logging.WARNING):
        assert load_state(path, "another recipe") is None
        path.write_bytes(path.read_bytes()[:-100])
        assert build_field_table(OBVIOUS, SAMPLES, str(tiny_llama), TINY, silent, tmp_path) == first
    assert "another tuning" in caplog.text
    assert "cannot be read" in caplog.text


def test_the_best_epoch_is_kept_not_the_last(tiny_llama: Path):
    wild = TINY.model_copy(update={"learning_rate": 1.0, "epochs": 4})
    metrics = build_field_table(OBVIOUS, SAMPLES, str(tiny_llama), wild).metrics
    merits = [(entry["held_out_accuracy"], -entry["held_out_loss"]) for entry in metrics["epochs"]]
    assert metrics["best_epoch"] == merits.index(max(merits))
    assert metrics["held_out_accuracy"] == max(merits)[0]


def test_cancelling_ends_the_tuning(tiny_llama: Path):
    def cancel(report: Progress) -> None:
        raise JobCancelled("asked to stop")

    with pytest.raises(JobCancelled):
        build_field_table(OBVIOUS, SAMPLES, str(tiny_llama), TINY, cancel)


def test_the_recipe_knows_equal_work(tiny_llama: Path):
    model = str(tiny_llama)
    recipe = recipe_of(OBVIOUS, SAMPLES, model, TINY)
    renamed = OBVIOUS.model_copy(update={"name": "other"})
    assert recipe_of(renamed, {name: values[::-1] for name, values in SAMPLES.items()}, model, TINY) == recipe
    fields = (*OBVIOUS.fields[:2], Field(name="f3", description="country"))
    others = [
        recipe_of(OBVIOUS.model_copy(update={"fields": fields}), SAMPLES, model, TINY),
        recipe_of(OBVIOUS, {**SAMPLES, "f3": ["Chad"]}, model, TINY),
        recipe_of(OBVIOUS, SAMPLES, "all-MiniLM-L6-v2", TINY),
        recipe_of(OBVIOUS, SAMPLES, model, TINY.model_copy(update={"seed": 1})),
    ]
    assert len({recipe, *others}) == 5


def test_what_cannot_be_tuned_is_refused(tiny_llama: Path):
    with pytest.raises(OptionError, match="use objective 'contrastive'"):
        recipe_of(OBVIOUS, SAMPLES, "all-MiniLM-L6-v2", SsftOptions(objective="generative"))
    with pytest.raises(DataError, match="no field of the schema 'obvious' has a sample"):
        build_field_table(OBVIOUS, {"colour": [""]}, str(tiny_llama), TINY)
    with pytest.raises(SchemaError, match="does not have"):
        build_field_table(OBVIOUS, {"size": ["1"]}, str(tiny_llama), TINY)


def test_one_field_with_one_value_still_gives_a_table(tiny_llama: Path):
    schema = Schema(name="one", fields=(Field(name="only"),))
    table = build_field_table(schema, {"only": ["v"]}, str(tiny_llama), TINY)
    assert table.vectors.shape == (1, 32)
    assert table.metrics["judged_on"] == "training values"
