"""What can be said against a job before it is queued, so that a call that cannot work is refused at once."""

from llactr_core.schema import Schema
from llactr_core.semantics.options import SsftOptions
from services.ctr.payloads import RefreshPlan, TrainRequest
from services.ctr.registry.store import CHAMPION, Registry, require_semantics
from services.ctr.settings import CtrSettings
from services.shared.datasets import resolve_dataset


def check_train(request: TrainRequest, model: str, registry: Registry, settings: CtrSettings) -> None:
    """Let a training pass that may work.

    Raises:
        SchemaError, OptionError, PermissionDenied: schema, options or dataset cannot be used.
        NotFoundError: there is no such dataset, or no such version to start from.
    """
    start = None if request.warm_start is None else registry.get(model, request.warm_start).lineage
    request.schema_over(None if start is None else Schema.parse(start.data_schema))
    request.options_over(None if start is None else start.options)
    resolve_dataset(request.dataset, settings.data_roots)


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
