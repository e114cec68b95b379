"""From a dataset with scenes to the vectors of their values: stages 1 and 2, then each value is read once."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llactr_core import __version__
from llactr_core.data.encoding import Encoder
from llactr_core.data.read import Source
from llactr_core.enhancers.larr.contrast import Contrast
from llactr_core.enhancers.larr.corpus import Corpus
from llactr_core.enhancers.larr.options import LarrOptions
from llactr_core.enhancers.larr.pairs import Pairs
from llactr_core.enhancers.larr.pretrain import Pretraining
from llactr_core.enhancers.larr.reader import Reader
from llactr_core.enhancers.larr.scenes import scene_values
from llactr_core.progress import ProgressCallback, silent, within
from llactr_core.semantics.template import default_template
from llactr_core.semantics.tensor_file import as_json
from llactr_core.semantics.tuning.checkpoint import State
from llactr_core.semantics.tuning.run import Run, Schedule, Work, put
from llactr_core.semantics.values.build import build_value_table
from llactr_core.semantics.values.gather import table_of, value_text
from llactr_core.semantics.values.table import ValueTable
from llactr_core.semantics.weights import model_digest, model_label, resolve_model

VECTORS = "scenes.safetensors"
STAGE_3 = frozenset({"width", "layers", "heads", "align_weight", "align_temperature"})


@dataclass(frozen=True)
class SceneVectors:
    """The vectors of the scene's values, and what stages 1 and 2 measured by their names."""

    table: ValueTable
    stages: Mapping[str, Mapping[str, Any]]


def build_scene_table(
    encoder: Encoder,
    train: Source,
    model: str,
    options: LarrOptions,
    work: Path,
    *,
    device: str = "auto",
    progress: ProgressCallback = silent,
) -> SceneVectors:
    """Tune a language model on the items and clicks of train, and let it read the values of the scene's fields.

    Args:
        encoder: fitted on train; its schema marks the scene.
        train: the rows.
        model: a language model's name or folder.
        options: of stages 1 and 2; with 0 epochs of both the model reads as it came.
        work: a folder of this run's own, with checkpoints and the vectors that were read; a killed run that is started
            again with it goes on.
        device: "auto", "cpu" or "cuda".
        progress: is told where it stands; what it raises ends the work.

    Raises:
        NotFoundError, ArtifactError: the model is not here, or damaged.
        OptionError: the schema marks no scene, or the model cannot do what the options ask.
        DataError: stages 1 and 2 find no items, users or clicks in words.
    """
    values = scene_values(encoder)
    known = _kept(work)
    if not options.tunes:
        table = build_value_table(encoder.schema, values, model, device=device, known=known, progress=progress)
        table.save(work / VECTORS)
        return SceneVectors(table, {})
    corpus = Corpus.read(encoder.schema, encoder, train)
    recipe = _recipe(corpus, model, options)
    reader = Reader.load(model, corpus.marks, options, device)
    stages = _tuned(reader, corpus, options, work, recipe, within(progress, 0.0, 0.98))
    last = within(progress, 0.98, 1.0)
    table = table_of(encoder.schema, values, reader.embed, model_label(model), recipe, known=known, progress=last)
    table.save(work / VECTORS)
    return SceneVectors(table, stages)


def _tuned(
    reader: Reader, corpus: Corpus, options: LarrOptions, work: Path, recipe: str, progress: ProgressCallback
) -> dict[str, Mapping[str, Any]]:
    """Stages 1 and 2; the reader has the best epoch of each in it, and what they measured is returned."""
    stages: dict[str, Mapping[str, Any]] = {}
    middle = options.pretrain_epochs / (options.pretrain_epochs + 4 * options.contrast_epochs)  # six texts, not one
    first, second = within(progress, 0.0, middle), within(progress, middle, 1.0)
    if options.pretrain_epochs:
        schedule = Schedule("larr 1: pre-training", options.pretrain_epochs, options.learning_rate)
        task = Pretraining.of(reader, corpus, options)
        stages["pretrain"] = _run(reader, task, schedule, reader.without_head(), work / "pretrain", recipe, first)
    if options.contrast_epochs:
        schedule = Schedule("larr 2: contrast", options.contrast_epochs, options.learning_rate)
        pairs = Contrast.of(reader, Pairs.draw(corpus, options.most_pairs, options.seed), options)
        stages["contrast"] = _run(reader, pairs, schedule, reader.parameters, work / "contrast", recipe, second)
    return stages


def _run(
    reader: Reader,
    task: Work,
    schedule: Schedule,
    parameters: dict[str, Any],
    checkpoint: Path,
    recipe: str,
    progress: ProgressCallback,
) -> Mapping[str, Any]:
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    state: State = Run(parameters, task, schedule, progress, checkpoint.with_suffix(".safetensors"), recipe).complete()
    put(parameters, state.best)
    return {
        "epochs": state.history,
        "best_epoch": state.best_epoch,
        "seconds": round(state.seconds, 3),
        "tokens": state.tokens,
        "parameters": sum(value.numel() for value in state.best.values()),
    }


def _kept(work: Path) -> ValueTable | None:
    """The vectors that were read before; they count only under the same recipe."""
    path = work / VECTORS
    work.mkdir(parents=True, exist_ok=True)
    return ValueTable.load(path) if path.exists() else None


def _recipe(corpus: Corpus, model: str, options: LarrOptions) -> str:
    """A digest of all that the vectors depend on besides the values' texts."""
    path = resolve_model(model)
    things = [[key, one.attributes] for side in (corpus.items, corpus.users) for key, one in side.items()]
    content = [
        model_digest(path),
        default_template(path).to_json(),
        value_text("FIELD", "VALUE"),
        options.model_dump(mode="json", exclude=set(STAGE_3)),
        corpus.marks,
        corpus.described,
        things,
        corpus.clicks,
        __version__,
    ]
    return hashlib.sha256(as_json(content).encode()).hexdigest()
