"""One training run in memory: from encoded rows to a trained model."""

from collections.abc import Callable
from dataclasses import dataclass

from llactr_core.enhancers.model import CTRModel
from llactr_core.progress import ProgressCallback, silent
from llactr_core.semantics.semantics import Semantics
from llactr_core.training.build import build_model
from llactr_core.training.checkpoint import Checkpoint
from llactr_core.training.data import TrainingBatches
from llactr_core.training.entities import entities
from llactr_core.training.held_out import HeldOut
from llactr_core.training.loop import History, fit
from llactr_core.training.options import TrainOptions
from llactr_core.training.prepared import Prepared
from llactr_core.training.warm import WarmStart

EvaluationCallback = Callable[[History], None]


@dataclass(frozen=True)
class Trained:
    """A trained model, how training went, and the parts of valid that it was stopped, calibrated and judged by."""

    model: CTRModel
    history: History
    held_out: HeldOut


def train_model(
    data: Prepared,
    semantics: Semantics,
    options: TrainOptions,
    checkpoint: Checkpoint | None = None,
    progress: ProgressCallback = silent,
    *,
    warm: WarmStart | None = None,
    on_evaluation: EvaluationCallback | None = None,
) -> Trained:
    """Train on train and stop early on a part of valid.

    Args:
        data: the encoded rows.
        semantics: what the enhancer reads; ignored by the enhancer "none".
        options: hyper-parameters.
        checkpoint: where the state of the run is kept; without one a killed run begins anew.
        progress: is told the stage, the loss and the time left; may raise JobCancelled.
        warm: what a trained bundle learned, to go on from; `data` is encoded with its ids.
        on_evaluation: is told the history after each evaluation; what it raises ends the run.

    Raises:
        OptionError, SchemaError: options or semantics do not fit the schema.
        DataError: the loss is no longer a number.
    """
    encoder = data.encoder
    held_out = HeldOut.of(data.valid, options.held_out)
    model = build_model(encoder, semantics, options)
    if warm is not None:
        warm.put_into(model, encoder)
    batch_size = options.batch_for(len(data.train))
    batches = TrainingBatches(
        data.train,
        encoder.counts,
        encoder.unseen_ids,
        batch_size,
        options.unseen_rate,
        options.seed,
        entities(encoder, data.train) if options.cold_rate else (),
        options.cold_rate,
    )
    history = fit(
        model,
        batches,
        held_out.stopping,
        options,
        checkpoint,
        progress,
        is_warm=warm is not None,
        on_evaluation=on_evaluation,
    )
    return Trained(model, history, held_out)
