"""From a dataset with scenes to the vectors of their values: stages 1 and 2, then each value is read once."""

import shutil
from pathlib import Path

from llactr_core.data.encoding import Encoder
from llactr_core.data.read import Source
from llactr_core.enhancers.larr.options import LarrOptions
from llactr_core.enhancers.larr.read import read_texts
from llactr_core.enhancers.larr.scenes import scene_values
from llactr_core.enhancers.larr.texts import LarrTuning
from llactr_core.enhancers.larr.tune import tune_reader
from llactr_core.progress import ProgressCallback, silent, within
from llactr_core.semantics.tuned_model import load_tuned
from llactr_core.semantics.values.build import build_value_table
from llactr_core.semantics.values.gather import recipe_of, table_of, unit
from llactr_core.semantics.values.table import ValueTable
from llactr_core.semantics.weights import model_label

VECTORS = "scenes.safetensors"
ADAPTER = "adapter"


def build_scene_table(
    encoder: Encoder,
    train: Source,
    model: str,
    options: LarrOptions,
    work: Path,
    *,
    device: str = "auto",
    progress: ProgressCallback = silent,
) -> ValueTable:
    """Tune a language model on the items and clicks of train, and let it read the values of the scene's fields.

    Args:
        encoder: fitted on train; its schema marks the scene.
        train: the rows.
        model: a language model's name or folder.
        options: of stages 1 and 2; with 0 epochs of both the model reads as it came.
        work: a folder of this run's own, with checkpoints, the adapter and the vectors that were read; a killed run
            that is started again with it goes on.
        device: "auto", "cpu" or "cuda".
        progress: is told where it stands; what it raises ends the work.

    Raises:
        NotFoundError, ArtifactError: the model is not here, or damaged.
        OptionError: the schema marks no scene, or the model cannot do what the options ask.
        DataError: stages 1 and 2 find no items, users or clicks in words.
    """
    schema, values, known = encoder.schema, scene_values(encoder), _kept(work)
    if not options.tunes:
        table = build_value_table(schema, values, model, device=device, known=known, progress=progress)
        table.save(work / VECTORS)
        return table
    tuning = LarrTuning(texts=read_texts(encoder, train, options), options=options)
    recipe = tuning.recipe(schema, model)
    shutil.rmtree(work / ADAPTER, ignore_errors=True)
    first, last = within(progress, 0.0, 0.98), within(progress, 0.98, 1.0)
    tuned = tune_reader(tuning, model, recipe, work / ADAPTER, work, device=device, progress=first)
    reader, made_by = load_tuned(model, tuned.adapter, device), recipe_of([recipe])
    table = table_of(
        schema, values, lambda some: unit(reader.embed(some)), model_label(model), made_by, known=known, progress=last
    )
    table.save(work / VECTORS)
    return table


def _kept(work: Path) -> ValueTable | None:
    """The vectors that were read before; they count only under the same recipe."""
    path = work / VECTORS
    work.mkdir(parents=True, exist_ok=True)
    return ValueTable.load(path) if path.exists() else None
