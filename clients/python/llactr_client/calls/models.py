"""The registry's calls: what there is, which version an alias points at, and versions that come and go."""

from llactr_client import parsing
from llactr_client.call import JSON, Call, Reply, asked, encode, given, path
from llactr_client.ctr_results import ModelInfo, ModelVersion, Move
from llactr_client.parsing import Content
from llactr_client.results import Alias


def models() -> Call[tuple[ModelInfo, ...]]:
    """All models with their aliases."""

    def parse(reply: Reply) -> tuple[ModelInfo, ...]:
        return tuple(
            ModelInfo(
                name=parsing.text(entry, "name"),
                aliases={alias: str(version) for alias, version in parsing.mapping(entry, "aliases").items()},
                versions=parsing.texts(entry, "versions"),
            )
            for entry in parsing.objects(reply.object(), "models")
        )

    return Call("ctr", "GET", "/v1/models", parse)


def model_versions(model: str) -> Call[tuple[ModelVersion, ...]]:
    """The versions of a model with lineage and metrics, the newest first."""

    def parse(reply: Reply) -> tuple[ModelVersion, ...]:
        return tuple(_version(entry) for entry in parsing.objects(reply.object(), "versions"))

    return Call("ctr", "GET", path("v1", "models", model, "versions"), parse)


def model_version(model: str, version: str = "champion") -> Call[ModelVersion]:
    """One version, by its name or by an alias."""
    return Call("ctr", "GET", path("v1", "models", model, "versions", version), lambda reply: _version(reply.object()))


def model_history(model: str, *, limit: int = 50, before: int | None = None) -> Call[tuple[Move, ...]]:
    """The decisions about a model's aliases, newest first; `before` is the number of the last one known."""

    def parse(reply: Reply) -> tuple[Move, ...]:
        return tuple(_move(entry) for entry in parsing.objects(reply.object(), "decisions"))

    params = asked({"limit": limit, "before": before})
    return Call("ctr", "GET", path("v1", "models", model, "history"), parse, params=params)


def promote(model: str, version: str, *, alias: str = "champion", force: bool = False) -> Call[Alias]:
    """Point a model's alias at a version; `champion` moves only if the gate lets it (ApiError 409), or by force."""
    target = path("v1", "admin", "models", model, "aliases", alias)
    return Call("ctr", "PUT", target, parsing.alias_of, encode({"version": version, "force": force}), JSON)


def rollback(model: str, *, leaving: str | None = None) -> Call[Alias]:
    """Let the champion before the present one score again, without the gate.

    `leaving` is the version that is champion until then: where it is another one by now, that is an ApiError (409).
    """
    target = path("v1", "admin", "models", model, "rollback")
    return Call("ctr", "POST", target, parsing.alias_of, encode(given({"from": leaving})), JSON, twice=False)


def delete_alias(model: str, alias: str) -> Call[Alias]:
    """Delete an alias other than `champion` and `previous`; its version stays."""
    return Call("ctr", "DELETE", path("v1", "admin", "models", model, "aliases", alias), parsing.alias_of)


def import_version(model: str, bundle: str) -> Call[ModelVersion]:
    """Register a bundle that was trained elsewhere: a folder or URL that the service can read."""
    target = path("v1", "admin", "models", model, "versions")
    return Call("ctr", "POST", target, lambda reply: _version(reply.object()), encode({"bundle": bundle}), JSON)


def delete_version(model: str, version: str) -> Call[tuple[str, ...]]:
    """Delete a version that no alias and no job names."""
    return Call("ctr", "DELETE", path("v1", "admin", "models", model, "versions", version), _deleted)


def prune_versions(model: str, *, dry_run: bool = False) -> Call[tuple[str, ...]]:
    """Delete the versions that the retention rule gives up, or (dry run) only tell them."""
    target = path("v1", "admin", "models", model, "prune")
    return Call("ctr", "POST", target, _deleted, encode({"dry_run": dry_run}), JSON)


def _deleted(reply: Reply) -> tuple[str, ...]:
    return parsing.texts(reply.object(), "versions")


def _version(content: Content) -> ModelVersion:
    return ModelVersion(
        version=parsing.text(content, "version"),
        created_at=parsing.text(content, "created_at"),
        aliases=parsing.texts(content, "aliases"),
        lineage=parsing.mapping(content, "lineage"),
        metrics=parsing.mapping(content, "metrics"),
    )


def _move(content: Content) -> Move:
    return Move(
        number=parsing.whole(content, "number"),
        alias=parsing.text(content, "alias"),
        version=parsing.text(content, "version"),
        previous=parsing.text(content, "previous") or None,
        outcome=parsing.text(content, "outcome"),
        reason=parsing.text(content, "reason"),
        gate=parsing.mapping(content, "gate") or None,
        by=parsing.text(content, "by") or None,
        job=parsing.text(content, "job") or None,
        at=parsing.text(content, "at"),
    )
