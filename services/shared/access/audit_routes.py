"""The audit over HTTP, for admins."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from services.shared.access.audit import AuditEntry, AuditLog
from services.shared.access.auth import Guard, Role
from services.shared.http.problems import documented
from services.shared.jobs.job import iso

EXAMPLE: dict[str, JsonValue] = {
    "id": "18a4d6c1e2f03b479c1f5f0a4d2b11e7",
    "at": "2026-11-02T10:00:00.000+00:00",
    "key_id": "3f0c6c1f8f0e4f7f9d7f1f5f0a4d2b11",
    "key_name": "ci",
    "role": "trainer",
    "method": "POST",
    "path": "/v1/schemas",
    "status": 201,
    "request_id": "0c9d6a5e4f",
}


class AuditView(BaseModel):
    """A call that needed more than reading."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})

    id: str
    at: str
    key_id: str | None = Field(description="`admin.key` for the key in that file; null where no known key was sent.")
    key_name: str | None
    role: str = Field(description="The role that the call needed.")
    method: str
    path: str = Field(description="Without the query.")
    status: int = Field(description="What was answered; 0 where the caller had gone before.")
    request_id: str = Field(description="As in the answer's X-Request-Id and in the service's log.")


class AuditList(BaseModel):
    """The newest calls first."""

    entries: list[AuditView]


def audit_router(log: AuditLog, guard: Guard) -> APIRouter:
    """The route."""
    router = APIRouter(prefix="/v1/admin/audit", tags=["keys"], dependencies=[Depends(guard.require(Role.ADMIN))])

    @router.get("", summary="Who did what", responses=documented(401, 403))
    def entries(
        limit: Annotated[int, Query(ge=1, le=1000, description="How many entries at most.")] = 100,
        before: Annotated[
            str | None, Query(pattern="^[0-9a-f]{32}$", description="The last entry's id, for those before it.")
        ] = None,
    ) -> AuditList:
        return AuditList(entries=[_view(entry) for entry in log.entries(limit, before)])

    return router


def _view(entry: AuditEntry) -> AuditView:
    return AuditView(**{**vars(entry), "at": iso(entry.at)})
