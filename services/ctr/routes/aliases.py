"""Moving aliases: promotion through the gate, roll back in one call, removal."""

from contextlib import suppress
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Path, Request
from pydantic import BaseModel, ConfigDict
from pydantic import Field as Setting

from llactr_core.errors import GateError, LlactrError
from services.ctr.promotion.promotion import Decision, Promotion
from services.ctr.registry.store import CHAMPION, NAME_PATTERN, Registry
from services.ctr.serving.pool import ModelPool
from services.shared.access.auth import Guard, Role, caller_of
from services.shared.http.problems import documented
from services.shared.http.route import CheckedRoute

ModelPath = Annotated[str, Path(pattern=NAME_PATTERN, description="The model's name.", examples=["bank-marketing"])]
AliasPath = Annotated[
    str, Path(pattern=NAME_PATTERN, description="`champion` scores; others are yours.", examples=["champion"])
]
EXAMPLE: dict[str, Any] = {
    "model": "bank-marketing",
    "alias": "champion",
    "version": "5f0c1a9be2d4",
    "previous": "90b2fd1c77aa",
    "reason": "AUC +0.0031 (-0.0012 to +0.0070) against the champion: not shown to be worse by more than 0.002; "
    "predicted/true 0.984 (0.901 to 1.070) lies within 0.9 to 1.1",
    "gate": {
        "passed": True,
        "rows": 1131,
        "clicks": 131,
        "difference": {"value": 0.0031, "interval": [-0.0012, 0.007]},
    },
}


class AliasRequest(BaseModel):
    """Where the alias shall point."""

    model_config = ConfigDict(frozen=True, extra="forbid", json_schema_extra={"example": {"version": "5f0c1a9be2d4"}})

    version: str = Setting(min_length=1, max_length=128, description="A version, or an alias such as `previous`.")
    force: bool = Setting(default=False, description="Do not ask the gate. A damaged bundle is refused even so.")


class RollBackRequest(BaseModel):
    """Which champion is meant to go."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", populate_by_name=True, json_schema_extra={"example": {"from": "5f0c1a9be2d4"}}
    )

    from_version: str | None = Setting(
        default=None,
        alias="from",
        min_length=1,
        max_length=128,
        description="The champion to leave: 409 where another one is champion by now, as after a call that came twice.",
    )


class AliasResponse(BaseModel):
    """Where the alias points, where it pointed before, and why it was moved."""

    model_config = ConfigDict(frozen=True, extra="forbid", json_schema_extra={"example": EXAMPLE})

    model: str
    alias: str
    version: str
    previous: str | None
    reason: str
    gate: dict[str, Any] | None = Setting(default=None, description="The numbers that the gate looked at, if it did.")


def alias_router(registry: Registry, promotion: Promotion, pool: ModelPool, guard: Guard) -> APIRouter:
    """The routes that move aliases."""
    router = APIRouter(route_class=CheckedRoute, tags=["admin"])
    admin = Depends(guard.require(Role.ADMIN, "model"))

    @router.put(
        "/v1/admin/models/{model}/aliases/{alias}",
        dependencies=[admin],
        responses=documented(400, 401, 403, 404, 409, 413, 415, 503),
        summary="Point an alias at a version",
    )
    def set_alias(call: Request, model: ModelPath, alias: AliasPath, request: AliasRequest) -> AliasResponse:
        """Moves the alias atomically once the version's bundle is verified; `champion` also has to pass the gate.

        The gate compares the version with the champion on held-out rows. What it refuses is answered with 409, code
        `gate-refused`, the reason and the numbers; `force` overrules it. A version that was champion before passes.
        """
        by = caller_of(call).key_name
        decision = promotion.promote(model, alias, request.version, force=request.force, by=by)
        if not decision.moved:
            raise GateError(
                f"version {decision.version} of {model!r} was not promoted: {decision.reason}", decision.gate
            )
        _follow(pool)
        return _moved(model, alias, decision)

    @router.delete(
        "/v1/admin/models/{model}/aliases/{alias}",
        dependencies=[admin],
        responses=documented(401, 403, 404, 409),
        summary="Remove an alias",
    )
    def remove_alias(call: Request, model: ModelPath, alias: AliasPath) -> AliasResponse:
        """The version stays. `champion`, `previous` and what the traffic plan names cannot be removed."""
        version = registry.remove_alias(model, alias, caller_of(call).key_name)
        _follow(pool)
        reason = "the alias was removed"
        return AliasResponse(model=model, alias=alias, version=version, previous=version, reason=reason)

    @router.post(
        "/v1/admin/models/{model}/rollback",
        dependencies=[admin],
        responses=documented(400, 401, 403, 404, 409, 413, 415),
        summary="Go back to the champion before",
    )
    def roll_back(
        call: Request, model: ModelPath, request: Annotated[RollBackRequest | None, Body()] = None
    ) -> AliasResponse:
        """Points `champion` at the champion before, without the gate; once more, at the one before that."""
        leaving = None if request is None else request.from_version
        decision = promotion.roll_back(model, caller_of(call).key_name, leaving=leaving)
        _follow(pool)
        return _moved(model, CHAMPION, decision)

    return router


def _follow(pool: ModelPool) -> None:
    """Serve what was moved at once; where the database is lost right now the watcher follows, and the move stands."""
    with suppress(LlactrError):
        pool.refresh()


def _moved(model: str, alias: str, decision: Decision) -> AliasResponse:
    return AliasResponse(
        model=model,
        alias=alias,
        version=decision.version,
        previous=decision.previous,
        reason=decision.reason,
        gate=decision.gate,
    )
