"""A tuning at the LLM service, asked for once and followed over restarts of either side."""

from collections.abc import Callable

from llactr_core.errors import JobCancelled
from services.ctr.jobs.llm import FieldSemantics, field_semantics
from services.ctr.jobs.span import Span
from services.ctr.jobs.state import StateFile
from services.ctr.settings import CtrSettings
from services.shared.jobs.context import JobContext
from services.shared.jobs.store import JobStore

Ask = Callable[[], tuple[str | None, str | None]]


def run_tuning(
    context: JobContext, store: JobStore, semantics: FieldSemantics, state: StateFile, ask: Ask, span: Span
) -> str:
    """The version of the field table that a tuning makes.

    Args:
        context: the job that waits for it; where that is cancelled, so is the tuning.
        store: the jobs.
        semantics: the LLM service.
        state: remembers the tuning's job.
        ask: starts it: (job id, None), or (None, version) where there is nothing to do.
        span: is told how far it is.

    Raises:
        JobCancelled: the job was asked to end, or its worker ends.
        LlactrError: the tuning failed, or the LLM service refuses it.
    """
    if state.state.llm_job is None:
        span.stage("asking for new field semantics")
        job_id, version = ask()
        if job_id is None:
            return version or ""
        state.set(llm_job=job_id)
    try:
        return semantics.follow(state.state.llm_job or "", context, span)
    except JobCancelled:
        if store.get(context.job.id).cancel_requested:
            semantics.cancel(state.state.llm_job or "")
        raise


def end_tuning(context: JobContext, settings: CtrSettings) -> None:
    """End the LLM service's job of a job that was cancelled while it waited.

    Raises:
        UnavailableError: the LLM service does not answer.
        LlactrError: it refuses.
    """
    state = StateFile(context.directory).state
    if state.llm_job is not None and state.table_version is None:
        with field_semantics(settings) as semantics:
            semantics.cancel(state.llm_job)
