"""Stages 1 and 2 of LARR: a language model becomes a text embedder, which is kept as an adapter with a head."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from llactr_core.enhancers.larr.contrast import Contrast
from llactr_core.enhancers.larr.model import check_model
from llactr_core.enhancers.larr.pretrain import Pretraining
from llactr_core.enhancers.larr.reader import HEAD, Reader
from llactr_core.enhancers.larr.split import check_texts
from llactr_core.enhancers.larr.texts import LarrTexts, LarrTuning
from llactr_core.progress import ProgressCallback, silent, within
from llactr_core.semantics.canary import canary_texts
from llactr_core.semantics.head import Head
from llactr_core.semantics.tuned import TunedModel
from llactr_core.semantics.tuned_model import canary_of
from llactr_core.semantics.tuning.adapter import save_adapter
from llactr_core.semantics.tuning.checkpoint import State
from llactr_core.semantics.tuning.run import Run, Schedule, Work, copied, put

SHOWN = 200  # characters of a canary's text


def tune_reader(
    tuning: LarrTuning,
    model: str,
    recipe: str,
    adapter: Path,
    work: Path,
    *,
    device: str = "auto",
    progress: ProgressCallback = silent,
) -> TunedModel:
    """Tune a language model by stages 1 and 2.

    Args:
        tuning: what is read, and how.
        model: the language model's name or folder.
        recipe: what the checkpoints count for.
        adapter: the folder that LoRA (PEFT's format), the head and the canary are written to.
        work: a folder for checkpoints; a killed run that is started again with it goes on.
        device: "auto", "cpu" or "cuda".
        progress: is told where it stands; what it raises ends the work.

    Returns:
        The adapter's folder, or none where no epoch was better than the untuned model; `metrics` has an entry for each
        stage that was run, with its history, and the seconds and tokens per second of both.

    Raises:
        NotFoundError, ArtifactError: the model is not here, or damaged.
        OptionError: the model cannot do what the options ask.
        DataError: there are too few items or pairs.
    """
    check_texts(tuning.texts, tuning.options)
    check_model(model, tuning.options)
    reader = Reader.load(model, tuning.texts.marks, tuning.options, device)
    stages = _stages(reader, tuning, work, recipe, progress)
    metrics = _metrics(stages)
    if not any(stage.best_epoch for stage in stages.values()):
        return TunedModel(None, metrics)
    parameters = copied(reader.parameters)
    lora = {name: value for name, value in parameters.items() if "lora_" in name}
    save_adapter(adapter, lora, tuning.options.tuning(1), reader.targets)
    if "contrast" in stages and stages["contrast"].best_epoch:
        named = {name.removeprefix(f"{HEAD}."): value for name, value in parameters.items() if name.startswith(HEAD)}
        Head.of({name: value.numpy() for name, value in named.items()}).save(adapter)
    canary_of(canary_texts((), _examples(tuning.texts)), model, device, adapter).save(adapter)
    return TunedModel(adapter, metrics)


def _examples(texts: LarrTexts) -> list[str]:
    """Texts of items and users, in short."""
    items = [" ".join(value for _, value in thing.attributes) for thing in texts.items]
    users = [pair.left for pairs in texts.pairs.values() for pair in pairs]
    return [text[:SHOWN] for text in (*items, *users)]


def _stages(
    reader: Reader, tuning: LarrTuning, work: Path, recipe: str, progress: ProgressCallback
) -> dict[str, State]:
    """Run both; the reader has the best epoch of each in it."""
    options, stages = tuning.options, {}
    middle = options.pretrain_epochs / (options.pretrain_epochs + 4 * options.contrast_epochs)  # six texts, not one
    first, second = within(progress, 0.0, middle), within(progress, middle, 1.0)
    if options.pretrain_epochs:
        schedule = Schedule("larr 1: pre-training", options.pretrain_epochs, options.learning_rate)
        task = Pretraining.of(reader, tuning.texts, options)
        stages["pretrain"] = _run(reader, task, schedule, reader.without_head(), work / "pretrain", recipe, first)
    if options.contrast_epochs:
        schedule = Schedule("larr 2: contrast", options.contrast_epochs, options.learning_rate)
        pairs = Contrast.of(reader, tuning.texts.pairs, options)
        stages["contrast"] = _run(reader, pairs, schedule, reader.parameters, work / "contrast", recipe, second)
    return stages


def _run(
    reader: Reader,
    task: Work,
    schedule: Schedule,
    parameters: dict[str, nn.Parameter],
    checkpoint: Path,
    recipe: str,
    progress: ProgressCallback,
) -> State:
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    state = Run(parameters, task, schedule, progress, checkpoint.with_suffix(".safetensors"), recipe).complete()
    best: Mapping[str, Tensor] = state.best
    put(parameters, best)
    return state


def _metrics(stages: Mapping[str, State]) -> dict[str, Any]:
    seconds = sum(state.seconds for state in stages.values())
    tokens = sum(state.tokens for state in stages.values())
    told = {name: {"epochs": state.history, "best_epoch": state.best_epoch} for name, state in stages.items()}
    return {**told, "seconds": round(seconds, 3), "tokens_per_second": round(tokens / max(seconds, 1e-9), 1)}
