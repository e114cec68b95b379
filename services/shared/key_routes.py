"""API keys over HTTP, for admins: make, list, revoke."""

from typing import Literal

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field

from services.shared.auth import Guard, Role
from services.shared.job import iso
from services.shared.keys import ApiKey
from services.shared.problems import documented


class KeyBody(BaseModel):
    """A key to make."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"name": "ci", "role": "trainer"}]})

    name: str = Field(min_length=1, max_length=100, description="Who will use it, and for what.")
    role: Literal["reader", "trainer", "admin"]


class KeyView(BaseModel):
    """What is known of a key, without the key."""

    id: str
    name: str
    role: str
    created_at: str
    revoked_at: str | None


class NewKey(KeyView):
    """A key that was just made; it is shown this once."""

    key: str


class KeyList(BaseModel):
    """The keys, oldest first, the revoked ones too."""

    keys: list[KeyView]


def key_router(guard: Guard) -> APIRouter:
    """The routes under /v1/admin/keys."""
    router = APIRouter(prefix="/v1/admin/keys", tags=["keys"], dependencies=[Depends(guard.require(Role.ADMIN))])
    store = guard.keys

    @router.post("", summary="Make a key", status_code=201, responses=documented(400, 401, 403, 413, 415, 422))
    def create(body: KeyBody) -> NewKey:
        entry, key = store.create(body.name, Role[body.role.upper()])
        return NewKey(key=key, **_view(entry).model_dump())

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
        created_at=iso(entry.created_at) or "",
        revoked_at=iso(entry.revoked_at),
    )
