"""The calls for admins that both services answer: keys, and the audit of what was done with them."""

import hashlib
import secrets
from collections.abc import Collection

from llactr_client import parsing
from llactr_client.call import Call, Reply, Service, encode, path
from llactr_client.llm_calls import JSON, given
from llactr_client.parsing import Content
from llactr_client.results import ApiKey, AuditEntry, Role


def fresh_key() -> str:
    """A new key, known to nobody else."""
    return f"llactr_{secrets.token_urlsafe(32)}"


def register_key(
    service: Service, key: str, name: str, role: Role, scopes: Collection[str] | None, rate_per_s: float | None
) -> Call[ApiKey]:
    """POST /v1/admin/keys with the key's digest: the key itself is not sent, and sending twice registers it once."""
    body = {
        "name": name,
        "role": role,
        "digest": hashlib.sha256(key.encode()).hexdigest(),
        "scopes": None if scopes is None else sorted(scopes),
        "rate_per_s": rate_per_s,
    }

    def parse(reply: Reply) -> ApiKey:
        return _key(service, reply.object(), key)

    return Call(service, "POST", "/v1/admin/keys", parse, encode(given(body)), JSON)


def keys(service: Service) -> Call[tuple[ApiKey, ...]]:
    """GET /v1/admin/keys, the oldest first."""

    def parse(reply: Reply) -> tuple[ApiKey, ...]:
        return tuple(_key(service, entry) for entry in parsing.objects(reply.object(), "keys"))

    return Call(service, "GET", "/v1/admin/keys", parse)


def revoke_key(service: Service, key_id: str) -> Call[ApiKey]:
    """DELETE /v1/admin/keys/{id}."""
    return Call(service, "DELETE", path("v1", "admin", "keys", key_id), lambda reply: _key(service, reply.object()))


def audit(service: Service, limit: int, before: str | None) -> Call[tuple[AuditEntry, ...]]:
    """GET /v1/admin/audit, the newest first."""

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
