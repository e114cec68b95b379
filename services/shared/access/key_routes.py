"""API keys over HTTP, for admins: make or register, list, revoke."""

from typing import Literal

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field

from services.shared.access.auth import Guard, Role
from services.shared.access.keys import MAX_NAME, MAX_RATE, MIN_RATE, ApiKey
from services.shared.http.problems import documented
from services.shared.http.route import CheckedRoute
from services.shared.jobs.job import iso


class KeyBody(BaseModel):
    """A key to make, or (with its digest) one that the caller has made and keeps."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"name": "ci", "role": "trainer", "scopes": ["movies"], "rate_per_s": 50}]},
    )

    name: str = Field(min_length=1, max_length=MAX_NAME, description="Who will use it, and for what.")
    role: Literal["reader", "trainer", "admin"]
    scopes: list[str] | None = Field(
        default=None, description="The schemas (LLM) or models (CTR) that it is limited to; null is all."
    )
    rate_per_s: float | None = Field(
        default=None,
        ge=MIN_RATE,
        le=MAX_RATE,
        description="The most calls a second; null is the service's default for keys.",
    )
    digest: str | None = Field(
        default=None,
        description="SHA-256 (64 hex digits) of a key that the caller made; null lets the service make it.",
    )


class KeyView(BaseModel):
    """What is known of a key, without the key."""

    id: str
    name: str
    role: str
    scopes: list[str] | None
    rate_per_s: float | None = Field(description="The most calls a second; null is the service's default.")
    created_at: str
    revoked_at: str | None


class NewKey(KeyView):
    """A key that was just made or registered."""

    key: str | None = Field(description="Shown this once; null where the caller gave its digest and has it already.")


class KeyList(BaseModel):
    """The keys, oldest first, the revoked ones too."""

    keys: list[KeyView]


def key_router(guard: Guard) -> APIRouter:
    """The routes under /v1/admin/keys."""
    router = APIRouter(
        route_class=CheckedRoute,
        prefix="/v1/admin/keys",
        tags=["keys"],
        dependencies=[Depends(guard.require(Role.ADMIN))],
    )
    store = guard.keys

    @router.post("", summary="Make a key", status_code=201, responses=documented(400, 401, 403, 409, 413, 415, 422))
    def create(body: KeyBody) -> NewKey:
        role = Role[body.role.upper()]
        if body.digest is None:
            entry, key = store.create(body.name, role, body.scopes, body.rate_per_s)
            return NewKey(key=key, **_view(entry).model_dump())
        entry = store.register(body.name, role, body.digest, body.scopes, body.rate_per_s)
        return NewKey(key=None, **_view(entry).model_dump())

    @router.get("", summary="The keys", responses=documented(401, 403))
    def all_keys() -> KeyList:
        return KeyList(keys=[_view(entry) for entry in store.list()])

    @router.delete("/{key_id}", summary="Revoke a key", responses=documented(401, 403, 404))
    def revoke(key_id: str) -> KeyView:
        return _view(store.revoke(key_id))

    return router


def _view(entry: ApiKey) -> KeyView:
    return KeyView(
        id=entry.id,
        name=entry.name,
        role=entry.role.label,
        scopes=None if entry.scopes is None else list(entry.scopes),
        rate_per_s=entry.rate_per_s,
        created_at=iso(entry.created_at) or "",
        revoked_at=iso(entry.revoked_at),
    )
