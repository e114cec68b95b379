"""Who may call what: a bearer key with one of three roles; on loopback, reading is open by default."""

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from llactr_core.errors import AuthenticationError, OptionError, PermissionDenied
from services.shared.access.caller import ANYONE, Caller, Role
from services.shared.access.keys import KeyStore, ensure_admin_key
from services.shared.settings import ServiceSettings
from services.shared.storage.storage import Storage
from services.shared.telemetry import metrics

__all__ = ["Caller", "Guard", "KeyStore", "Role", "caller_of", "ensure_admin_key"]

LISTED = 5
Bearer = Annotated[
    HTTPAuthorizationCredentials | None,
    Depends(HTTPBearer(auto_error=False, scheme_name="key", description="The admin key, or one made with it.")),
]


class Guard:
    """Checks the key of a call against the role that the call needs, and against what the call is about."""

    def __init__(self, storage: Storage, settings: ServiceSettings) -> None:
        self.keys = KeyStore(storage, settings.key_file, settings.key_cache_s)
        self.open_reads = settings.is_loopback and not settings.require_key_to_read
        self._settings = settings

    def require(
        self, role: Role, scope: str | None = None
    ) -> Callable[[Request, HTTPAuthorizationCredentials | None], Awaitable[None]]:
        """A FastAPI dependency that lets only keys of this role or a higher one pass.

        Args:
            role: the lowest role that will do.
            scope: the path parameter that names the schema or the model that the call is about, where there is one.
        """

        async def check(request: Request, bearer: Bearer) -> None:
            request.state.needs = role
            request.state.caller = await self._caller(bearer)
            self.admit(request.state.caller, role)
            if scope is not None:
                self.allow(request, request.path_params[scope])

        return check

    def allow(self, request: Request, name: str) -> None:
        """Let a call on the schema or model of this name pass. For routes that `require` has checked.

        Raises:
            PermissionDenied: the key is limited to others.
        """
        caller = caller_of(request)
        if not caller.sees(name):
            metrics.KEYS_REFUSED.labels("scope").inc()
            own = sorted(caller.scopes or ())
            listed = ", ".join(own[:LISTED]) + (" and others" if len(own) > LISTED else "")
            raise PermissionDenied(f"the key is limited to {listed}; this call is about {name!r}")

    async def _caller(self, bearer: HTTPAuthorizationCredentials | None) -> Caller | None:
        if bearer is None:
            return ANYONE
        # Who was looked up lately is known at once; a look-up waits for the storage, so it has a thread.
        return self.keys.remembered(bearer.credentials) or await run_in_threadpool(self.identify, bearer.credentials)

    def identify(self, key: str | None) -> Caller | None:
        """Who has this key; None when it is unknown or revoked. May ask the storage."""
        return ANYONE if key is None else self.keys.caller(key)

    def admit(self, caller: Caller | None, role: Role) -> Caller:
        """Let the caller do what needs this role, or refuse it; None stands for an unknown key.

        Raises:
            AuthenticationError: no key where one is needed, or one that is not known.
            PermissionDenied: the key's role is too low.
        """
        if caller is None:
            metrics.KEYS_REFUSED.labels("unknown").inc()
            raise AuthenticationError("the key is not known or was revoked; ask an admin for a new one")
        if caller is ANYONE and not (role is Role.READER and self.open_reads):
            metrics.KEYS_REFUSED.labels("missing").inc()
            raise AuthenticationError(
                f"this call needs a key with the role {role.label}; send the header 'Authorization: Bearer KEY' "
                "(the admin key lies in the service's home folder, file admin.key)"
            )
        if caller.role < role:
            metrics.KEYS_REFUSED.labels("role").inc()
            raise PermissionDenied(f"the key has the role {caller.role.label}; this call needs {role.label}")
        return caller

    def check_exposure(self) -> None:
        """Refuse to serve others than this machine without any key.

        Raises:
            OptionError: the service listens beyond loopback and there is no key.
        """
        if not self._settings.is_loopback and not self.keys.any():
            raise OptionError(
                f"the service would listen on {self._settings.host} without any key; write one into "
                f"{self._settings.key_file} (mode 0600) or listen on 127.0.0.1"
            )


def caller_of(request: Request) -> Caller:
    """Who makes this call; known once `Guard.require` has let it pass."""
    caller: Caller = request.state.caller
    return caller
