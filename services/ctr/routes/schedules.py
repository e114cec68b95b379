"""The schedule of a model's refreshes over HTTP."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request

from services.ctr.jobs.checks import check_refresh
from services.ctr.registry.store import NAME_PATTERN, Registry
from services.ctr.schedule.records import ScheduleRequest, ScheduleView
from services.ctr.schedule.store import ScheduleStore
from services.ctr.settings import CtrSettings
from services.shared.access.auth import Guard, Role, caller_of
from services.shared.http.problems import documented
from services.shared.http.route import CheckedRoute

PATH = "/v1/admin/models/{model}/schedule"
ModelPath = Annotated[str, Path(pattern=NAME_PATTERN, description="The model's name.", examples=["bank-marketing"])]


def schedule_router(schedules: ScheduleStore, registry: Registry, settings: CtrSettings, guard: Guard) -> APIRouter:
    """Set, show and delete schedules; the workers follow them."""
    router = APIRouter(route_class=CheckedRoute, tags=["admin"])
    reader, trainer = (Depends(guard.require(role, "model")) for role in (Role.READER, Role.TRAINER))

    @router.put(
        PATH,
        dependencies=[trainer],
        responses=documented(400, 401, 403, 404, 409, 413, 415),
        summary="Set the schedule of a model's refreshes",
    )
    def put(call: Request, model: ModelPath, request: ScheduleRequest) -> ScheduleView:
        """Refreshes the model every so many hours, when its field table has a new version, or both.

        A time that comes while a refresh of the model is at work passes without another one; times that were missed
        while no worker lived are made up for once. For each field table at most one refresh is started. `force` in
        the request needs a key with the role admin.
        """
        if request.request.force:
            guard.admit(caller_of(call), Role.ADMIN)
        check_refresh(request.request, model, registry, settings)
        return schedules.put(model, request).view()

    @router.get(
        PATH,
        dependencies=[reader],
        responses=documented(401, 403, 404),
        summary="The schedule of a model's refreshes",
    )
    def get(model: ModelPath) -> ScheduleView:
        """What was set, when it is due next, and the last job that it started."""
        return schedules.get(model).view()

    @router.delete(
        PATH,
        dependencies=[trainer],
        responses=documented(401, 403, 404),
        summary="Delete the schedule of a model's refreshes",
    )
    def delete(model: ModelPath) -> ScheduleView:
        """Answers what it was. A refresh that it has started goes on."""
        return schedules.delete(model).view()

    return router
