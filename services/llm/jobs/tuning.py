"""The tuning of a refresh: in its turn, while the engine rests, and kept in the job's folder once it is complete."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from llactr_core.errors import ArtifactError
from llactr_core.files import write_atomic
from llactr_core.progress import Progress
from llactr_core.semantics.tuned import TunedModel
from services.llm.engines.engine import Engine
from services.llm.jobs.request import RefreshPayload
from services.shared.accelerators.gpus import accelerators, free_memory
from services.shared.accelerators.turn import turn
from services.shared.jobs.context import JobContext
from services.shared.storage.artifacts import folder_digest
from services.shared.telemetry.metrics import TUNING_ACCURACY, TUNING_SECONDS, TUNING_TOKENS

FACTS = "tuned.json"


class _Facts(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    recipe: str
    adapter: str | None
    metrics: dict[str, Any]


def tuned_model(
    context: JobContext, payload: RefreshPayload, samples: Mapping[str, Sequence[str]], engine: Engine
) -> TunedModel:
    """The job's tuned model; its adapter lies in a folder named by its content.

    An earlier attempt's complete tuning is taken as it is, without touching the accelerator.

    Raises:
        JobCancelled: the work should end.
        LlactrError: what `tune_model` or `tune_reader` raises.
    """
    if not payload.rank:
        return TunedModel()
    recipe = payload.recipe_with(samples)
    kept = _kept(context.directory, recipe)
    if kept is not None:
        return kept
    scratch = context.directory / "adapter"
    shutil.rmtree(scratch, ignore_errors=True)
    context.report(Progress("wait for the accelerator", 0.0))
    with _alone(context, payload, engine):
        context.report(Progress("load model", 0.0))
        tuned = _tune(context, payload, samples, recipe, scratch)
    _count(payload.content.name, tuned)
    return _keep(context.directory, recipe, tuned)


def _tune(
    context: JobContext, payload: RefreshPayload, samples: Mapping[str, Sequence[str]], recipe: str, adapter: Path
) -> TunedModel:
    # Only here: a worker that waits for work has not loaded torch.
    from llactr_core.enhancers.larr.tune import tune_reader
    from llactr_core.semantics.tuned_model import tune_model

    model, report, checkpoints = payload.model, context.report, context.directory / "checkpoints"
    if payload.larr is not None:
        return tune_reader(payload.larr, model, recipe, adapter, checkpoints, progress=report)
    return tune_model(payload.content, samples, model, payload.ssft, adapter, report, checkpoints)


@contextmanager
def _alone(context: JobContext, payload: RefreshPayload, engine: Engine) -> Iterator[None]:
    """The accelerator for this tuning only; the engine goes on afterwards, whatever happens."""
    with turn(accelerators(payload.ssft.device, payload.ssft.processes), context.sleep):
        try:
            engine.pause()
            yield
        finally:
            free_memory()
            engine.resume()


def _kept(folder: Path, recipe: str) -> TunedModel | None:
    try:
        facts = _Facts.model_validate_json((folder / FACTS).read_bytes())
    except (OSError, ValueError):
        return None
    if facts.recipe != recipe:
        return None
    if facts.adapter is None:
        return TunedModel(None, facts.metrics)
    adapter = _place(folder, facts.adapter)
    try:
        is_whole = folder_digest(adapter) == facts.adapter
    except (OSError, ArtifactError):
        is_whole = False
    return TunedModel(adapter, facts.metrics) if is_whole else None


def _keep(folder: Path, recipe: str, tuned: TunedModel) -> TunedModel:
    digest, adapter = None, None
    if tuned.adapter:
        digest = folder_digest(tuned.adapter)
        adapter = _place(folder, digest)
        adapter.parent.mkdir(exist_ok=True)
        shutil.rmtree(adapter, ignore_errors=True)
        tuned.adapter.rename(adapter)
    facts = _Facts(recipe=recipe, adapter=digest, metrics=dict(tuned.metrics))
    write_atomic(folder / FACTS, facts.model_dump_json().encode())
    return TunedModel(adapter, tuned.metrics)


def _place(folder: Path, digest: str) -> Path:
    return (folder / "adapters" / digest).absolute()


def _count(schema: str, tuned: TunedModel) -> None:
    metrics = tuned.metrics
    TUNING_SECONDS.observe(metrics["seconds"])
    TUNING_TOKENS.inc(metrics["tokens_per_second"] * metrics["seconds"])
    if "held_out_accuracy" in metrics:
        TUNING_ACCURACY.labels(schema).set(metrics["held_out_accuracy"])
