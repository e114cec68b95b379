"""Who may call what: a bearer key with one of three roles; on loopback, reading is open by default."""

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends
from fastapi.concurrency import run_in_threadpool
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from llactr_core.errors import AuthenticationError, OptionError, PermissionDenied
from services.shared.keys import KeyStore, Role, ensure_admin_key
from services.shared.settings import ServiceSettings
from services.shared.storage import Storage

__all__ = ["Guard", "KeyStore", "Role", "ensure_admin_key"]

Bearer = Annotated[
    HTTPAuthorizationCredentials | None,
    Depends(HTTPBearer(auto_error=False, scheme_name="key", description="The admin key, or one made with it.")),
]


class Guard:
    """Checks the key of a call against the role that the call needs."""

    def __init__(self, storage: Storage, settings: ServiceSettings) -> None:
        self.keys = KeyStore(storage, settings.key_file)
        self.open_reads = settings.is_loopback and not settings.require_key_to_read
        self._settings = settings

    def require(self, role: Role) -> Callable[[HTTPAuthorizationCredentials | None], Awaitable[None]]:
        """A FastAPI dependency that lets only keys of this role or a higher one pass."""

        async def check(bearer: Bearer) -> None:
            if bearer is None:
                self.check(None, role)
            else:
                await run_in_threadpool(self.check, bearer.credentials, role)

        return check

    def check(self, key: str | None, role: Role) -> None:
        """Let the call pass, or refuse it.

        Raises:
            AuthenticationError: no key where one is needed, or one that is not known.
            PermissionDenied: the key's role is too low.
        """
        if key is None:
            if role is Role.READER and self.open_reads:
                return
            raise AuthenticationError(
                f"this call needs a key with the role {role.label}; send the header 'Authorization: Bearer KEY' "
                "(the admin key lies in the service's home folder, file admin.key)"
            )
        held = self.keys.role_of(key)
        if held is None:
            raise AuthenticationError("the key is not known or was revoked; ask an admin for a new one")
        if held < role:
            raise PermissionDenied(f"the key has the role {held.label}; this call needs {role.label}")

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
