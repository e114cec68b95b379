"""What can be said against a job before it is queued, so that a call that cannot work is refused at once."""

from llactr_core.schema import Schema
from llactr_core.semantics.options import SsftOptions
from services.ctr.payloads import ProveRequest, RefreshPlan, TrainRequest
from services.ctr.registry.store import CHAMPION, Registry, require_semantics
from services.ctr.settings import CtrSettings
from services.shared.datasets import resolve_dataset


def check_train(request: TrainRequest, model: str, registry: Registry, settings: CtrSettings) -> TrainRequest:
    """Let a training pass that may work.

    Returns:
        The request with the version to start from in place of an alias: what a job names is not deleted.

    Raises:
        SchemaError, OptionError, PermissionDenied: schema, options or dataset cannot be used.
        NotFoundError: there is no such dataset, or no such version to start from.
    """
    start = None if request.warm_start is None else registry.get(model, request.warm_start)
    request.schema_over(None if start is None else Schema.parse(start.lineage.data_schema))
    request.options_over(None if start is None else start.lineage.options)
    resolve_dataset(request.dataset, settings.data_roots)
    return request if start is None else request.model_copy(update={"warm_start": start.version})


def check_refresh(plan: RefreshPlan, model: str, registry: Registry, settings: CtrSettings) -> None:
    """Let a refresh pass that may work.

    Raises:
        OptionError, PermissionDenied: options or dataset cannot be used.
        NotFoundError: there is no such dataset, or no such model.
        ConflictError: the champion was trained without field semantics.
    """
    SsftOptions.parse(plan.ssft)
    if plan.dataset is not None:
        resolve_dataset(plan.dataset, settings.data_roots)
    champion = registry.get(model, CHAMPION)
    require_semantics(model, champion)
    plan.options_over(champion.lineage.options)


def check_prove(request: ProveRequest, settings: CtrSettings) -> None:
    """Let a proof pass that may work.

    Raises:
        SchemaError, PermissionDenied: schema or dataset cannot be used.
        NotFoundError: there is no such dataset.
    """
    request.schema_with_label()
    resolve_dataset(request.dataset, settings.data_roots)
