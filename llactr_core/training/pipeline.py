"""From a dataset to a bundle: encode, train, measure, export."""

import hashlib
import json
import math
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch
from safetensors.torch import save_file

from llactr_core import __version__
from llactr_core.bundle import (
    CALIBRATION,
    EXPLANATION,
    FIELD_TABLE,
    GATE_ROWS,
    GOLDEN,
    SCENE_VALUES,
    VALUES,
    WEIGHTS,
    Bundle,
    write_bundle,
)
from llactr_core.calibration import Calibrator
from llactr_core.data.canonical import canonical, plain_array
from llactr_core.data.encoding import Encoder
from llactr_core.data.read import Source
from llactr_core.data.splits import Splits
from llactr_core.enhancers.larr.larr import Larr
from llactr_core.enhancers.llactr import Llactr
from llactr_core.export.explanation import exported_explanation
from llactr_core.metrics.report import evaluate
from llactr_core.progress import Progress, ProgressCallback, within
from llactr_core.schema import Schema
from llactr_core.semantics.semantics import Semantics
from llactr_core.semantics.weights import DEFAULT_MODEL
from llactr_core.training.align import Aligned, align
from llactr_core.training.build import value_projection
from llactr_core.training.checkpoint import Checkpoint
from llactr_core.training.data import Rows
from llactr_core.training.held_out import Logits
from llactr_core.training.options import TrainOptions
from llactr_core.training.prepared import Prepared
from llactr_core.training.run import Trained, train_model
from llactr_core.training.serving import Serving, exact, with_int8
from llactr_core.training.warm import WarmStart
from llactr_core.turn import Turn, at_once

GOLDEN_ROWS = 16
ALIGNED = 0.8  # the share of the bar at which an alignment has ended


def train_bundle(
    splits: Splits,
    schema: Schema,
    semantics: Semantics,
    options: TrainOptions,
    out: Path,
    checkpoints: Path,
    progress: ProgressCallback,
    *,
    read_test: bool = False,
    start_from: Path | None = None,
    language_model: str = DEFAULT_MODEL,
    auto: Mapping[str, object] | None = None,
    turn: Turn = at_once,
) -> Bundle:
    """Train on train, stop early on a part of valid, calibrate on another one, and write the bundle `out`.

    Args:
        splits: the dataset.
        schema: its fields and label.
        semantics: the field vectors, which the enhancer "llactr" needs, and those of values; ignored without one.
        options: hyper-parameters.
        out: the bundle's directory, complete or absent at any moment.
        checkpoints: a directory of this run's own; a killed run that is started again with it goes on.
        progress: is told the stage, the loss and the time left; may raise JobCancelled.
        read_test: also measure the test split; choices must not rest on it.
        start_from: a bundle to go on from (a warm start); its vocabularies are extended by those of train.
        language_model: name or folder of the one that the enhancer "ctrl" aligns the backbone with.
        auto: how the options were chosen, where they were; for the manifest.
        turn: is asked for the accelerator of an alignment.

    Raises:
        DataError, SchemaError, OptionError: data, schema or options do not fit; nothing is written.
        BundleError: the bundle to start from is damaged.
    """
    started = time.monotonic()
    progress(Progress("reading the data", 0.0))
    warm = None if start_from is None else WarmStart.load(start_from, schema, options)
    semantics = Semantics() if options.enhancer in ("none", "ctrl") else semantics
    data = Prepared.read(splits, schema, semantics.values, None if warm is None else warm.encoder)
    aligned: Aligned | None = None
    tell = progress
    if options.enhancer == "ctrl":
        stage_1, tell = within(progress, 0.0, ALIGNED), within(progress, ALIGNED, 1.0)
        aligned = align(data, options, language_model, checkpoints, stage_1, start=warm, turn=turn)
    begin = warm if aligned is None else aligned.start
    checkpoint = Checkpoint(checkpoints, _run_key(splits, schema, semantics, options, begin))
    trained = train_model(data, semantics, options, checkpoint, tell, warm=begin)
    encoder, model, held_out = data.encoder, trained.model, trained.held_out

    progress(Progress("exporting", 0.99))
    serving = exact(model)
    if options.served_precision == "int8":
        serving = with_int8(serving, model, encoder, data.train, held_out.stopping)
    calibrator = held_out.fitted(serving.logits, options)
    metrics = _measured(trained, serving, calibrator, data.test() if read_test else None)
    metrics["training"] |= {"total_seconds": round(time.monotonic() - started, 3)}
    if aligned is not None:
        metrics["alignment"] = aligned.measured
    manifest: dict[str, object] = {
        "schema": schema.model_dump(mode="json"),
        "options": options.model_dump(mode="json"),
        "precision": serving.precision,
        "lineage": {
            "schema_fingerprint": schema.fingerprint,
            "data": {name: source.digest() for name, source in _named(splits)},
            "split": splits.how,
            "field_table": None if semantics.fields is None else semantics.fields.version,
            "value_table": None if semantics.values is None else semantics.values.version,
            "start_from": None if warm is None else warm.version,
            "alignment": None if aligned is None else aligned.lineage,
            "code": __version__,
            "torch": torch.__version__,
            **({} if auto is None else {"auto": dict(auto)}),
        },
    }

    enhancer = model.enhancer
    offsets = enhancer.values if isinstance(enhancer, Llactr) else None

    def write_files(directory: Path) -> None:
        encoder.save(directory)
        save_file(serving.tensors, directory / WEIGHTS)
        for name, graph in serving.graphs.items():
            (directory / name).write_bytes(graph)
        (directory / EXPLANATION).write_bytes(exported_explanation(model))
        if semantics.fields is not None:
            semantics.fields.save(directory / FIELD_TABLE)
        if semantics.values is not None and offsets is not None:
            projection = value_projection(model.embedding.table, encoder, offsets, semantics.values.recipe)
            projection.save(directory / VALUES)
        if semantics.values is not None and isinstance(enhancer, Larr):
            enhancer.projection(semantics.values.recipe).save(directory / SCENE_VALUES)
        (directory / CALIBRATION).write_text(json.dumps(calibrator.as_json()), encoding="utf-8")
        held_out.reference(serving.logits, calibrator, encoder).save(directory)
        rows = held_out.rows_as_they_came(splits.valid, schema)
        if rows is not None:
            pq.write_table(rows, directory / GATE_ROWS)
        golden = _golden(serving.logits, encoder, splits, calibrator)
        (directory / GOLDEN).write_text(json.dumps(golden), encoding="utf-8")

    bundle = write_bundle(out, manifest, metrics, write_files)
    checkpoint.delete()
    return bundle


def _measured(trained: Trained, serving: Serving, calibrator: Calibrator, test: Rows | None) -> dict[str, Any]:
    """Metrics by split, what training took, and what rounding the graph cost where it was asked for."""
    history, held_out = trained.history, trained.held_out
    metrics: dict[str, Any] = {"valid": history.evaluations[history.best]}
    if held_out.judging is not None:
        metrics["held_out"] = held_out.measured(serving.logits, calibrator)
    if test is not None:
        probabilities = calibrator.probabilities(serving.logits(test))
        metrics["test"] = evaluate(test.labels.numpy(), probabilities, test.groups)
    if serving.rounding is not None:
        metrics["rounding"] = asdict(serving.rounding)
    metrics["training"] = {
        "seconds": round(history.seconds, 3),
        "steps": history.step,
        "parameters": sum(p.numel() for p in trained.model.parameters()),
        "evaluations": history.evaluations,
    }
    return metrics


def _golden(logits_of: Logits, encoder: Encoder, splits: Splits, calibrator: Calibrator) -> dict[str, object]:
    """Some validation rows, one row with nothing known in it, and their calibrated scores as they are served."""
    columns = list(encoder.schema.columns)
    batch = next(iter(splits.valid.batches(columns))).slice(0, GOLDEN_ROWS)
    values = [[_plain(value) for value in plain_array(column).to_pylist()] for column in batch.columns]
    rows: list[Mapping[str, object]] = [dict(zip(columns, row, strict=True)) for row in zip(*values, strict=True)]
    rows += [{}, dict.fromkeys(columns, "\u0000never seen")]
    encoded = encoder.encode_rows(rows)
    weights = None if encoded.weights is None else torch.from_numpy(encoded.weights)
    logits = logits_of(Rows(torch.from_numpy(encoded.ids), weights, torch.zeros(len(rows)), None))
    return {"rows": rows, "scores": calibrator.probabilities(logits).tolist()}


def _plain(value: object) -> object:
    """A value as JSON has it; what JSON lacks (NaN, bytes, decimals, dates) in its canonical form."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, str | int | None) or (isinstance(value, float) and math.isfinite(value)):
        return value
    return canonical(value)


def _run_key(
    splits: Splits, schema: Schema, semantics: Semantics, options: TrainOptions, warm: WarmStart | None
) -> str:
    parts = [schema.fingerprint, options.model_dump_json(), __version__]
    parts += ["" if one is None else one.version for one in (semantics.fields, semantics.values, warm)]
    parts += [source.digest() for _, source in _named(splits)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _named(splits: Splits) -> tuple[tuple[str, Source], ...]:
    return (("train", splits.train), ("valid", splits.valid), ("test", splits.test))
