"""GET /v1/models/{model}/quality: how good the live scores turned out to be."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query

from services.ctr.quality.quality import LiveQuality, Quality
from services.ctr.registry.store import NAME_PATTERN, Registry
from services.shared.access.auth import Guard, Role
from services.shared.http.problems import documented


def quality_router(quality: Quality, registry: Registry, guard: Guard) -> APIRouter:
    """The route of live quality."""
    router = APIRouter(tags=["quality"])

    @router.get(
        "/v1/models/{model}/quality",
        dependencies=[Depends(guard.require(Role.READER, "model"))],
        responses=documented(401, 403, 404, 422, 503),
        summary="Show the live quality of a model's versions",
    )
    def show(
        model: Annotated[str, Path(pattern=NAME_PATTERN, description="The model's name.", examples=["bank-marketing"])],
        window_hours: Annotated[float, Query(gt=0, le=8760, description="How many hours to look back.")] = 24.0,
        version: Annotated[
            str | None, Query(min_length=1, max_length=128, description="A version or an alias; all by default.")
        ] = None,
    ) -> LiveQuality:
        """AUC, LogLoss and calibration of the logged scores that have labels, and drift, by version and arm."""
        registry.versions(model)
        wanted = None if version is None else registry.get(model, version).version
        return quality.of(model, window_hours, wanted)

    return router
