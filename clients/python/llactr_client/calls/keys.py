"""The calls for admins that both services answer: keys, and the audit of what was done with them."""

import hashlib
import secrets
from collections.abc import Collection

from llactr_client import parsing
from llactr_client.call import JSON, Call, Reply, Service, encode, given, path
from llactr_client.parsing import Content
from llactr_client.results import ApiKey, AuditEntry, Role


def create_key(
    name: str,
    role: Role,
    *,
    service: Service,
    scopes: Collection[str] | None = None,
    key: str | None = None,
    rate_per_s: float | None = None,
) -> Call[ApiKey]:
    """Let a service accept a key: the given one (to use one key at both services), or one that is made here.

    The service is told the key's digest only; the answer's `key` is the one place where the key itself stands.
    `scopes` are the schemas (LLM) or models (CTR) that it shall be limited to, `rate_per_s` the most calls a second.
    """
    known = key or f"llactr_{secrets.token_urlsafe(32)}"
    body = {
        "name": name,
        "role": role,
        "digest": hashlib.sha256(known.encode()).hexdigest(),
        "scopes": None if scopes is None else sorted(scopes),
        "rate_per_s": rate_per_s,
    }

    def parse(reply: Reply) -> ApiKey:
        return _key(service, reply.object(), known)

    return Call(service, "POST", "/v1/admin/keys", parse, encode(given(body)), JSON)


def keys(service: Service) -> Call[tuple[ApiKey, ...]]:
    """The keys of a service, oldest first, the revoked ones too."""

    def parse(reply: Reply) -> tuple[ApiKey, ...]:
        return tuple(_key(service, entry) for entry in parsing.objects(reply.object(), "keys"))

    return Call(service, "GET", "/v1/admin/keys", parse)


def revoke_key(key_id: str, service: Service) -> Call[ApiKey]:
    """Let a service refuse a key from now on."""
    return Call(service, "DELETE", path("v1", "admin", "keys", key_id), lambda reply: _key(service, reply.object()))


def audit(service: Service, *, limit: int = 100, before: str | None = None) -> Call[tuple[AuditEntry, ...]]:
    """The newest calls that needed more than reading, newest first; `before` is the id of the last one known."""

    def parse(reply: Reply) -> tuple[AuditEntry, ...]:
        return tuple(
            AuditEntry(
                service=service,
                id=parsing.text(entry, "id"),
                at=parsing.text(entry, "at"),
                key_id=parsing.text(entry, "key_id") or None,
                key_name=parsing.text(entry, "key_name") or None,
                role=parsing.text(entry, "role"),
                method=parsing.text(entry, "method"),
                path=parsing.text(entry, "path"),
                status=int(parsing.number(entry, "status") or 0),
                request_id=parsing.text(entry, "request_id"),
            )
            for entry in parsing.objects(reply.object(), "entries")
        )

    params = {"limit": str(limit), **({"before": before} if before else {})}
    return Call(service, "GET", "/v1/admin/audit", parse, params=params)


def _key(service: Service, content: Content, key: str | None = None) -> ApiKey:
    return ApiKey(
        service=service,
        id=parsing.text(content, "id"),
        name=parsing.text(content, "name"),
        role=parsing.text(content, "role"),
        scopes=None if content.get("scopes") is None else parsing.texts(content, "scopes"),
        rate_per_s=parsing.number(content, "rate_per_s"),
        created_at=parsing.text(content, "created_at"),
        revoked_at=parsing.text(content, "revoked_at") or None,
        key=key,
    )
