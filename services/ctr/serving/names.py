"""What a reference to a model stands for, by the last look at the aliases: NAME, NAME:VERSION or NAME@ALIAS."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from llactr_core.errors import InputError, NoModelError, NotFoundError, PermissionDenied
from services.ctr.registry.store import CHAMPION, Registry
from services.ctr.serving.shelf import Key

DEFAULT = "default"


@dataclass(frozen=True)
class Names:
    """What the aliases said at the last look, and the version of each model that serves as its champion."""

    aliases: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    champions: Mapping[str, str] = field(default_factory=dict)

    def known(self, reference: str) -> Key | None:
        """Name and version; None where only the registry can tell. Never waits.

        Raises:
            InputError: the reference is not understood.
        """
        name, separator, wanted = _split(reference)
        if separator == ":":
            return name, wanted
        if not separator or wanted == CHAMPION:
            version = self.champions.get(name)
        else:
            version = self.aliases.get(name, {}).get(wanted)
        return None if version is None else (name, version)

    def has(self, key: Key) -> bool:
        """Whether the version serves or an alias points at it, so that it is registered."""
        name, version = key
        return version == self.champions.get(name) or version in self.aliases.get(name, {}).values()

    def registered(self, reference: str, registry: Registry) -> Key:
        """The same from the registry, for what the last look did not see; asks the database.

        Raises:
            NotFoundError: no such model, version or alias.
            NoModelError: the model has no champion.
            InputError: the reference is not understood.
        """
        name, separator, wanted = _split(reference)
        if separator == ":":
            if registry.get(name, wanted).version != wanted:
                raise NotFoundError(f"{wanted!r} is an alias of model {name!r}; write {name}@{wanted}")
            return name, wanted
        if not separator or wanted == CHAMPION:
            if name not in self.aliases:
                registry.versions(name)  # raises NotFoundError where there is no such model
            raise _no_champion(name)
        aliases = registry.aliases().get(name, {})
        if wanted not in aliases:
            registry.versions(name)
            raise NotFoundError(f"model {name!r} has no alias {wanted!r}; it has: {', '.join(sorted(aliases))}")
        return name, aliases[wanted]

    def default(self, given: str | None, sees: Callable[[str], bool]) -> str:
        """The model that a request means which names none; errors name only models that its caller `sees`.

        Args:
            given: the service's setting. Without it the only model with a champion counts, else the one named
                `DEFAULT`.

        Raises:
            InputError: several could be meant.
            PermissionDenied: it is one that the caller does not see.
        """
        name = given or self._only()
        if name is not None and sees(name):
            return name
        own = ", ".join(model for model in sorted(self.champions) if sees(model)) or "none"
        if name is None:
            raise InputError(f"several models can score; say which with ?model=NAME; you can choose from: {own}")
        raise PermissionDenied(
            f"the key is not for the default model; say which with ?model=NAME; you can choose from: {own}"
        )

    def default_champion(self, given: str | None, sees: Callable[[str], bool]) -> str:
        """The same, where it has a champion.

        Raises:
            NoModelError: it has none.
            InputError, PermissionDenied: as `default`.
        """
        name = self.default(given, sees)
        if name not in self.champions:
            raise _no_champion(name)
        return name

    def _only(self) -> str | None:
        names = list(self.champions)
        if len(names) == 1:
            return names[0]
        return None if names and DEFAULT not in names else DEFAULT


def everything(_name: str) -> bool:
    """What a caller sees whose key has no limits."""
    return True


def name_of(reference: str) -> str:
    """The model's name within a reference."""
    return reference.replace("@", ":").partition(":")[0]


def _no_champion(name: str) -> NoModelError:
    return NoModelError(
        f"model {name!r} has no champion to score with; train one (`make run`, or POST /v1/admin/models/{name}/train) "
        f"or promote a version (PUT /v1/admin/models/{name}/aliases/champion)"
    )


def _split(reference: str) -> tuple[str, str, str]:
    for separator in (":", "@"):
        name, found, wanted = reference.partition(separator)
        if found:
            if not name or not wanted:
                raise InputError(f"model {reference!r} is not understood; give NAME, NAME:VERSION or NAME@ALIAS")
            return name, found, wanted
    return reference, "", ""
