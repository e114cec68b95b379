"""CTRL's stage 1 on prepared rows: the weights that training begins with."""

import hashlib
import json
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from llactr_core import __version__
from llactr_core.enhancers.ctrl.aligner import Aligner
from llactr_core.enhancers.ctrl.run import Run, Work
from llactr_core.enhancers.ctrl.sentences import Sentences, SentenceTemplate
from llactr_core.enhancers.model import CTRModel
from llactr_core.errors import ArtifactError, DataError
from llactr_core.files import replacing
from llactr_core.progress import ProgressCallback, silent
from llactr_core.semantics.encoder import TextEncoder, has_bfloat16
from llactr_core.semantics.semantics import Semantics
from llactr_core.semantics.weights import model_digest, model_label, resolve_model
from llactr_core.training.build import build_model
from llactr_core.training.options import TrainOptions
from llactr_core.training.prepared import Prepared
from llactr_core.training.warm import WarmStart
from llactr_core.turn import Turn, at_once

DEPENDS_ON = ("backbone", "backbone_options", "width", "rare", "ctrl")  # the options that stage 1 depends on


@dataclass(frozen=True)
class Aligned:
    """What stage 1 leaves: weights to begin with, where they come from, and what it cost."""

    start: WarmStart
    lineage: Mapping[str, Any]
    measured: Mapping[str, Any]


def align(
    data: Prepared,
    options: TrainOptions,
    language_model: str,
    folder: Path,
    progress: ProgressCallback = silent,
    *,
    start: WarmStart | None = None,
    turn: Turn = at_once,
) -> Aligned:
    """Align the backbone of `options` with a language model's reading of the train rows.

    The result is kept in the folder and found again by what it depends on, so that runs that differ in stage 2 alone
    share one alignment; a killed one goes on from its last checkpoint.

    Args:
        data: the rows; its splits have the very rows that are encoded.
        options: the backbone, its width, and `ctrl`. The first weights follow from `ctrl.seed`.
        language_model: its name or folder.
        folder: of checkpoints and results.
        progress: is told where it stands; what it raises ends the work.
        start: what a trained bundle learned, to go on from.
        turn: is asked for the device, where there is something to align.

    Raises:
        NotFoundError, ArtifactError: the language model or a checkpoint is not here, or damaged.
        OptionError: the device is not there, or the backbone does not know an option.
        SchemaError: no field can be told in a sentence.
        DataError: the loss is no longer a number.
    """
    path = resolve_model(language_model)
    template = SentenceTemplate.of(data.encoder, options.ctrl.nouns)
    lineage = {
        "language_model": model_label(language_model),
        "language_model_digest": model_digest(path),
        "template": template.text,
        "template_digest": template.digest,
    }
    key = _key(data, options, lineage, start)
    model = build_model(
        data.encoder, Semantics(), options.model_copy(update={"enhancer": "none", "seed": options.ctrl.seed})
    )
    kept = folder / f"aligned-{key[:16]}.safetensors"
    found = _kept(kept, key)
    if found is None:
        if start is not None:
            start.put_into(model, data.encoder)
        checkpoint = folder / "ctrl.safetensors"
        with turn(options.ctrl.device):
            measured = _run(model, data, template, options, language_model, checkpoint, key, progress)
        found = {name: value.contiguous() for name, value in model.state_dict().items()}, measured
        with replacing(kept) as beside:
            save_file(found[0], beside, {"key": key, "measured": json.dumps(measured)})
        checkpoint.unlink(missing_ok=True)
    weights, measured = found
    return Aligned(WarmStart(key, data.encoder, weights), lineage, measured)


def _run(
    model: CTRModel,
    data: Prepared,
    template: SentenceTemplate,
    options: TrainOptions,
    language_model: str,
    checkpoint: Path,
    key: str,
    progress: ProgressCallback,
) -> dict[str, Any]:
    """Align the model in place; what it took."""
    columns = list(dict.fromkeys(clause.field.column for clause in template.clauses))
    sentences = Sentences(template, data.splits.train.batches(columns))
    if len(sentences) != len(data.train):
        raise DataError(f"{len(sentences)} rows have sentences, but {len(data.train)} are encoded; give the same rows")
    encoder = TextEncoder.load(language_model, device=options.ctrl.device)
    model.to(encoder.device).train()
    aligner = Aligner(model, encoder, options.ctrl)
    wanted = options.ctrl.precision
    halved = wanted == "bfloat16" or (wanted == "auto" and has_bfloat16(encoder.device))
    with encoder.in_bfloat16() if halved else nullcontext():
        rows = data.train
        run = Run(aligner, encoder, rows.ids, rows.weights, sentences, options.ctrl, checkpoint, key, progress)
        work: Work = run.complete()
    model.to("cpu")
    took = {name: value for name, value in asdict(work).items() if name != "epoch_loss"}
    return {**took, "rows": len(rows), "batch_size": options.ctrl.batch_for(len(rows)), "device": encoder.device.type}


def _kept(path: Path, key: str) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    if not path.exists():
        return None
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ArtifactError(f"the alignment {path} is damaged ({error}); delete it to align anew") from error
    return (weights, json.loads(metadata["measured"])) if metadata.get("key") == key else None


def _key(data: Prepared, options: TrainOptions, lineage: Mapping[str, Any], start: WarmStart | None) -> str:
    content = [
        options.model_dump(mode="json", include=set(DEPENDS_ON)),
        lineage,
        data.encoder.schema.fingerprint,
        data.splits.train.digest(),
        data.encoder.size,
        None if start is None else start.version,
        __version__,
    ]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
