"""The traffic plan of a model: experiments between aliases, a shadow, and the share that is logged."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query
from pydantic import BaseModel, ConfigDict

from services.ctr.registry.store import NAME_PATTERN, Registry
from services.ctr.traffic.comparison import Comparison, Comparisons
from services.ctr.traffic.plan import TrafficPlan
from services.ctr.traffic.traffic import Traffic
from services.shared.access.auth import Guard, Role
from services.shared.http.problems import documented
from services.shared.http.route import CheckedRoute

ModelPath = Annotated[str, Path(pattern=NAME_PATTERN, description="The model's name.", examples=["bank-marketing"])]
Hours = Annotated[float, Query(gt=0, le=8760, description="How many hours to look back.")]


class ShadowReport(BaseModel):
    """How shadows scored what other versions answered, the largest pair first."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        json_schema_extra={
            "example": {
                "model": "bank-marketing",
                "window_hours": 24,
                "pairs": [
                    {
                        "version": "5f0c1a9be2d4",
                        "shadow": "90b2fd1c77aa",
                        "rows": 18230,
                        "mean_difference": 0.0041,
                        "largest_difference": 0.113,
                        "correlation": 0.981,
                        "mean_score": 0.0713,
                        "mean_shadow": 0.0721,
                    }
                ],
            }
        },
    )

    model: str
    window_hours: float
    pairs: tuple[Comparison, ...]


def traffic_router(traffic: Traffic, comparisons: Comparisons, registry: Registry, guard: Guard) -> APIRouter:
    """The routes of plans and shadows."""
    router = APIRouter(route_class=CheckedRoute, tags=["traffic"])
    reader = Depends(guard.require(Role.READER, "model"))
    admin = Depends(guard.require(Role.ADMIN, "model"))

    @router.get(
        "/v1/models/{model}/traffic",
        dependencies=[reader],
        responses=documented(401, 403, 404, 422, 503),
        summary="Show a model's traffic plan",
    )
    def show(model: ModelPath) -> TrafficPlan:
        """Who answers, who is compared and how much is logged; without a plan, what holds then."""
        return traffic.plans.of(model)

    @router.put(
        "/v1/admin/models/{model}/traffic",
        dependencies=[admin],
        responses=documented(400, 401, 403, 404, 413, 415, 422, 503),
        summary="Replace a model's traffic plan",
    )
    def replace(model: ModelPath, plan: TrafficPlan) -> TrafficPlan:
        """Holds in every process within the poll interval. A routing key changes its arm only where weights changed."""
        written = traffic.plans.write(model, plan)
        traffic.refresh()
        return written

    @router.delete(
        "/v1/admin/models/{model}/traffic",
        dependencies=[admin],
        responses=documented(401, 403, 404, 422, 503),
        summary="End a model's experiment and shadow",
    )
    def remove(model: ModelPath) -> TrafficPlan:
        """The champion answers all again; the answer is the plan that holds then."""
        left = traffic.plans.remove(model)
        traffic.refresh()
        return left

    @router.get(
        "/v1/models/{model}/shadow",
        dependencies=[reader],
        responses=documented(401, 403, 404, 422, 503),
        summary="Compare shadows with what was answered",
    )
    def shadow(model: ModelPath, window_hours: Hours = 24.0) -> ShadowReport:
        """Over whole hours: every pair of a version that answered and a shadow."""
        registry.versions(model)
        pairs = tuple(comparisons.read(model, window_hours))
        return ShadowReport(model=model, window_hours=window_hours, pairs=pairs)

    return router
