"""`llactr keys`: who may call the services, made and revoked with the admin key."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from services.cli.console import AsJson, CommandError, result, say, table
from services.cli.place import services

if TYPE_CHECKING:
    from llactr_client import ApiKey, Client, ClientError
    from llactr_client.call import Service

SHORTEST_KEY = 20
app = typer.Typer(help="API keys of both services.", no_args_is_help=True)
Role = Literal["reader", "trainer", "admin"]
Where = Literal["llm", "ctr", "both"]
AtService = Annotated[Where | None, typer.Option("--service", help="Whose keys; by default of both services.")]


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="Who will use the key, and for what.")],
    role: Annotated[Role, typer.Option(help="What it may do; each role may also do what the ones before it may.")],
    schema: Annotated[list[str] | None, typer.Option(help="Limit it to this schema; may be repeated.")] = None,
    model: Annotated[list[str] | None, typer.Option(help="Limit it to this model; may be repeated.")] = None,
    service: Annotated[
        Where | None,
        typer.Option(help="Who shall accept it; by default llm with --schema, ctr with --model, else both."),
    ] = None,
    rate: Annotated[float | None, typer.Option(help="The most calls a second, at each of them.")] = None,
    key_file: Annotated[Path | None, typer.Option(help="Accept the key in this file, instead of making one.")] = None,
    as_json: AsJson = False,
) -> None:
    """Make a key and print it, this once; with two services it is the same key for both."""
    from llactr_client import ClientError

    given = None if key_file is None else _read_key(key_file)
    scopes: dict[Service, list[str] | None] = {"llm": schema or None, "ctr": model or None}
    made: list[ApiKey] = []
    with services() as client:
        for one in _scoped(service, scopes):
            try:
                key = made[0].key if made else given
                made.append(client.create_key(name, role, service=one, scopes=scopes[one], key=key, rate_per_s=rate))
            except ClientError as error:
                if given is None:
                    _take_back(client, made, error)
                raise
    accepted = f"{name}: a {role} key for {' and '.join(entry.service for entry in made)}"
    if given is not None:
        say(f"{accepted}; it is the one in {key_file}")
        result({"keys": [_public(entry) for entry in made]}, as_json)
        return
    say(f"{accepted}; it is shown this once:")
    say(str(made[0].key))
    result({"key": made[0].key, "keys": [_public(entry) for entry in made]}, as_json)


@app.command("list")
def list_keys(service: AtService = None, as_json: AsJson = False) -> None:
    """The keys, also the revoked ones; never the keys themselves."""
    with services() as client:
        found = _all(client, service)
    header = ("id", "service", "name", "role", "limited to", "a second", "created", "revoked")
    say(table(header, [[cell or "-" for cell in _cells(key)] for key in found]))
    result({"keys": [_public(key) for key in found]}, as_json)


@app.command()
def revoke(
    key: Annotated[str, typer.Argument(metavar="ID|NAME", help="The key's id, or its name.")],
    service: AtService = None,
    as_json: AsJson = False,
) -> None:
    """Let the services refuse a key from now on; by its name, at every service that has it."""
    with services() as client:
        revoked = [client.revoke_key(entry.id, entry.service) for entry in _named(_all(client, service), key)]
    for entry in revoked:
        say(f"{entry.id}  {entry.service} {entry.name}: revoked")
    result({"keys": [_public(entry) for entry in revoked]}, as_json)


def _read_key(file: Path) -> str:
    try:
        key = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"the key file {file} cannot be read ({type(error).__name__}); name another one") from error
    if len(key) < SHORTEST_KEY:
        raise CommandError(f"the key in {file} has {len(key)} characters; give at least {SHORTEST_KEY} random ones")
    return key


def _take_back(client: "Client", made: "list[ApiKey]", why: "ClientError") -> None:
    """Revoke the key where it was accepted already.

    Raises:
        CommandError: a service does not; the message also says why the key was to be taken back.
    """
    from llactr_client import ClientError

    for entry in made:
        try:
            client.revoke_key(entry.id, entry.service)
        except ClientError as error:
            raise CommandError(
                f"{why}; and the key {entry.id}, which the {entry.service.upper()} service accepts already, could not "
                f"be revoked: {error}; do it with `llactr keys revoke {entry.id} --service {entry.service}`"
            ) from error


def _scoped(where: Where | None, scopes: "dict[Service, list[str] | None]") -> "list[Service]":
    """The services that shall accept a key with these scopes.

    Raises:
        CommandError: it would be limited at one of them and not at the other, or at one that shall not accept it.
    """
    limited = [service for service, names in scopes.items() if names is not None]
    chosen = _services(where) if where is not None else limited or _services(None)
    if limited and limited != chosen:
        raise CommandError(
            f"the key would be limited at {' and '.join(limited)} and accepted at {' and '.join(chosen)}; "
            "give --schema for llm, --model for ctr, both for both, and leave --service out"
        )
    return chosen


def _services(where: Where | None) -> "list[Service]":
    return ["llm", "ctr"] if where is None or where == "both" else [where]


def _all(client: "Client", where: Where | None) -> "list[ApiKey]":
    return [key for service in _services(where) for key in client.keys(service)]


def _named(keys: "list[ApiKey]", name: str) -> "list[ApiKey]":
    """The key with this id, or those that bear this name and are not revoked: at most one at each service.

    Raises:
        CommandError: there is none, or a service has several.
    """
    found = [key for key in keys if key.id == name] or [k for k in keys if k.name == name and k.revoked_at is None]
    if not found:
        raise CommandError(f"there is no key {name!r} that is not revoked; `llactr keys list` shows the known ones")
    if len({key.service for key in found}) < len(found):
        ids = ", ".join(key.id for key in found)
        raise CommandError(f"{len(found)} keys are named {name!r}; give the id of one: {ids}")
    return found


def _cells(key: "ApiKey") -> list[str | None]:
    scopes = None if key.scopes is None else ", ".join(key.scopes)
    rate = None if key.rate_per_s is None else f"{key.rate_per_s:g}"
    return [key.id, key.service, key.name, key.role, scopes, rate, key.created_at, key.revoked_at]


def _public(key: "ApiKey") -> dict[str, object]:
    return {name: value for name, value in asdict(key).items() if name != "key"}
