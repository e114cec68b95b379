"""Who may call what: a bearer key with one of three roles; on loopback, reading is open by default."""

from functools import partial
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from fastapi.security.utils import get_authorization_scheme_param

from llactr_core.errors import AuthenticationError, OptionError, PermissionDenied, UnavailableError
from services.shared.access.admin_key import ensure_admin_key
from services.shared.access.caller import ADMIN_FILE, ANYONE, Caller, Role
from services.shared.access.keys import KeyStore
from services.shared.access.rates import Guesses, Limits, Rates, network_of
from services.shared.http.patience import Patience
from services.shared.http.route import Gate
from services.shared.settings import ServiceSettings
from services.shared.storage.cache import Cache
from services.shared.storage.storage import Storage
from services.shared.telemetry import metrics

__all__ = ["Caller", "Guard", "KeyStore", "Role", "caller_of", "ensure_admin_key"]

LISTED = 5
PATIENCE_S = 1.0
LOOK_UPS = 8
BEARER = HTTPBearer(auto_error=False, scheme_name="key", description="The admin key, or one made with it.")
Bearer = Annotated[HTTPAuthorizationCredentials | None, Depends(BEARER)]


class Guard:
    """Checks the key of a call against the role that the call needs, and against what the call is about."""

    def __init__(self, storage: Storage, settings: ServiceSettings) -> None:
        self.keys = KeyStore(storage, settings.key_file, settings.key_cache_s)
        self.open_reads = settings.is_loopback and not settings.require_key_to_read
        self._settings = settings
        self._patience = Patience(PATIENCE_S, LOOK_UPS)
        limits = Limits(settings.default_rate_per_s, settings.anonymous_rate_per_s)
        redis_url = settings.redis_url.get_secret_value() if settings.redis_url else None
        self._rates = Rates(limits, settings.workers, Cache(redis_url))
        self._guesses = Guesses(settings.unknown_key_rate_per_s)

    def require(self, role: Role, scope: str | None = None) -> "RoleGate":
        """A FastAPI dependency that lets only keys of this role or a higher one pass.

        Args:
            role: the lowest role that will do.
            scope: the path parameter that names the schema or the model that the call is about, where there is one.
        """
        return RoleGate(self, role, scope)

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

    async def pace(self, request: Request, caller: Caller) -> None:
        """Let a call in at the rate of its key, or of its address where it has none.

        Raises:
            RateError: it comes too soon.
        """
        anonymous = self._rates.limits.anonymous
        if caller is ANYONE and anonymous is not None:
            await self._rates.check(f"{self._settings.service}:address:{_address_of(request)}", anonymous)
        rate = self._rate_of(caller)
        if rate is not None:
            await self._rates.check(self._bucket_of(caller), rate)

    def known(self, key: str | None) -> Caller | None:
        """Who calls, where that is known at once and he may read; None else. Never waits."""
        if key is None:
            return ANYONE if self.open_reads else None
        return self.keys.remembered(key)

    def takes(self, caller: Caller) -> bool:
        """What `pace` does, without waiting; False, and nothing taken, where only `pace` can tell."""
        if caller is ANYONE:
            return self._rates.limits.anonymous is None
        rate = self._rate_of(caller)
        return rate is None or self._rates.takes(self._bucket_of(caller), rate)

    def _rate_of(self, caller: Caller) -> float | None:
        """Calls a second of the caller's key; None is any number."""
        return None if caller is ADMIN_FILE or caller is ANYONE else caller.rate_per_s or self._rates.limits.default

    def _bucket_of(self, caller: Caller) -> str:
        return f"{self._settings.service}:{caller.key_id}"

    def close(self) -> None:
        """End what the guard has opened."""
        self._rates.close()

    async def caller(self, request: Request) -> Caller | None:
        """Whose key the call carries; None when it is unknown or revoked. Takes about a second at most.

        Raises:
            RateError: too many unknown keys came from the call's address, and the key was not seen lately.
            UnavailableError: the storage does not answer, and the key was not known lately.
        """
        scheme, key = get_authorization_scheme_param(request.headers.get("authorization"))
        if scheme.lower() != "bearer" or not key:
            return ANYONE
        # Who was looked up lately is known at once; a look-up waits for the storage, so it has a thread.
        known = self.keys.remembered(key)
        if known is not None:
            return known
        address = _address_of(request)
        if not self.keys.is_familiar(key):
            self._guesses.check(address)
        try:
            caller = await self._patience.wait(partial(self.identify, key))
        except UnavailableError:
            return self.keys.trusted(key)
        if caller is None:
            self._guesses.note(address)
        return caller

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

    def ensure_key(self) -> None:
        """Where there is no key at all, make the admin key, or refuse to serve others than this machine.

        Raises:
            OptionError: there is no key, and the service listens beyond loopback or cannot write the key's file.
        """
        if self.keys.any():
            return
        if not self._settings.is_loopback:
            raise OptionError(
                f"the service would listen on {self._settings.host} without any key; write one into "
                f"{self._settings.key_file} (mode 0600) or listen on 127.0.0.1"
            )
        try:
            ensure_admin_key(self._settings.key_file)
        except (OSError, UnicodeDecodeError) as error:
            raise OptionError(
                f"the admin key file {self._settings.key_file} can be neither read nor written "
                f"({type(error).__name__}); move it away, or name another one (admin_key_file)"
            ) from None


class RoleGate(Gate):
    """Lets pass who has the role and, where the call is about one schema or model, is not limited to others."""

    def __init__(self, guard: Guard, role: Role, scope: str | None) -> None:
        self._guard = guard
        self._role = role
        self._scope = scope

    async def check(self, request: Request) -> None:
        """Check the key once.

        Raises:
            AuthenticationError: no key where one is needed, or one that is not known.
            PermissionDenied: the key's role is too low, or it is limited to others.
            RateError: the key, or the address of a call without one, makes too many.
            UnavailableError: the storage does not answer, and the key was not known lately.
        """
        state = request.state
        if getattr(state, "passed", None) is self:
            return
        state.needs = self._role
        state.caller = await self._guard.caller(request)
        await self._guard.pace(request, self._guard.admit(state.caller, self._role))
        if self._scope is not None:
            self._guard.allow(request, request.path_params[self._scope])
        state.passed = self

    async def __call__(self, request: Request, _bearer: Bearer) -> None:
        """What FastAPI calls, and reads to document the key."""
        await self.check(request)


def _address_of(request: Request) -> str:
    return network_of(request.client.host if request.client else None)


def caller_of(request: Request) -> Caller:
    """Who makes this call; known once `Guard.require` has let it pass."""
    caller: Caller = request.state.caller
    return caller
