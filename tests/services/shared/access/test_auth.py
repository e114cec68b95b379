import stat
import threading
import time
from pathlib import Path

import pytest
from fastapi import APIRouter, Depends, Request
from sqlalchemy import event, select
from starlette.testclient import TestClient

from llactr_core.errors import AuthenticationError, ConflictError, NotFoundError, OptionError, PermissionDenied
from services.shared.access.auth import Caller, Guard, Role, caller_of, ensure_admin_key
from services.shared.access.keys import KeyRow, KeyStore, digest_of
from services.shared.http.app import create_app
from services.shared.settings import ServiceSettings
from services.shared.storage.storage import Storage


@pytest.fixture
def guard(storage: Storage, settings: ServiceSettings) -> Guard:
    return Guard(storage, settings)


def check(guard: Guard, key: str | None, role: Role) -> Caller:
    return guard.admit(guard.identify(key), role)


def test_the_admin_key_is_made_once_and_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "admin.key"
    keys: list[str] = []
    threads = [threading.Thread(target=lambda: keys.append(ensure_admin_key(path))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(keys) == 6
    assert len(set(keys)) == 1
    assert len(keys[0]) > 40
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["admin.key"]


def test_an_empty_key_file_is_filled(tmp_path: Path) -> None:
    path = tmp_path / "admin.key"
    path.write_text("\n")
    assert len(ensure_admin_key(path)) > 40


def test_a_role_may_do_what_lower_ones_may(guard: Guard) -> None:
    for held in Role:
        _, key = guard.keys.create("someone", held)
        for needed in Role:
            if held >= needed:
                assert check(guard, key, needed).role is held
                continue
            with pytest.raises(PermissionDenied, match=f"role {held.label}.*needs {needed.label}"):
                check(guard, key, needed)


def test_reads_are_open_on_loopback_and_nothing_else_is(guard: Guard) -> None:
    check(guard, None, Role.READER)
    for role in (Role.TRAINER, Role.ADMIN):
        with pytest.raises(AuthenticationError, match="Bearer"):
            check(guard, None, role)


@pytest.mark.parametrize("change", [{"require_key_to_read": True}, {"host": "0.0.0.0"}])
def test_reads_need_a_key_where_that_is_set(
    storage: Storage, settings: ServiceSettings, change: dict[str, object]
) -> None:
    guard = Guard(storage, settings.model_copy(update=change))
    with pytest.raises(AuthenticationError):
        check(guard, None, Role.READER)
    check(guard, ensure_admin_key(settings.key_file), Role.READER)


def test_an_unknown_or_revoked_key_is_refused_even_for_open_reads(guard: Guard) -> None:
    entry, key = guard.keys.create("someone", Role.ADMIN)
    guard.keys.revoke(entry.id)
    for given in (key, "guess", ""):
        with pytest.raises(AuthenticationError, match="not known"):
            check(guard, given, Role.READER)


def test_the_admin_key_file_counts_and_may_be_changed(guard: Guard, settings: ServiceSettings) -> None:
    old = ensure_admin_key(settings.key_file)
    check(guard, old, Role.ADMIN)
    settings.key_file.write_text("another-key\n")
    check(guard, "another-key", Role.ADMIN)
    with pytest.raises(AuthenticationError):
        check(guard, old, Role.ADMIN)


def test_only_digests_are_stored(storage: Storage, guard: Guard) -> None:
    _, key = guard.keys.create("someone", Role.READER)
    with storage.reading() as session:
        rows = session.scalars(select(KeyRow)).all()
    assert len(rows) == 1
    assert key not in str([vars(row) for row in rows])


def test_a_key_whose_maker_keeps_it_is_known_by_its_digest(guard: Guard) -> None:
    digest = digest_of("mine")
    with pytest.raises(AuthenticationError):
        check(guard, "mine", Role.READER)
    made = guard.keys.register("ci", Role.TRAINER, digest, ["b", "a", "a"])
    assert guard.keys.register("ci", Role.TRAINER, digest, ["a", "b"]) == made
    assert made.scopes == ("a", "b")
    assert check(guard, "mine", Role.TRAINER) == Caller(made.id, "ci", Role.TRAINER, frozenset({"a", "b"}))
    with pytest.raises(ConflictError, match="otherwise"):
        guard.keys.register("ci", Role.ADMIN, digest)
    guard.keys.revoke(made.id)
    with pytest.raises(ConflictError, match="revoked"):
        guard.keys.register("ci", Role.TRAINER, digest, ["a", "b"])


def test_keys_that_are_not_made(guard: Guard) -> None:
    refused: list[tuple[str, Role, str, list[str] | None, str]] = [
        ("", Role.READER, "0" * 64, None, "name"),
        ("a\nb", Role.READER, "0" * 64, None, "name"),
        ("x", Role.READER, "0" * 63, None, "digest"),
        ("x", Role.READER, "A" * 64, None, "digest"),
        ("x", Role.ADMIN, "0" * 64, ["s"], "role"),
        ("x", Role.READER, "0" * 64, [], "scopes"),
        ("x", Role.READER, "0" * 64, [""], "scopes"),
        ("x", Role.READER, "0" * 64, [str(i) for i in range(1001)], "scopes"),
    ]
    for name, role, digest, scopes, field in refused:
        with pytest.raises(OptionError) as error:
            guard.keys.register(name, role, digest, scopes)
        assert error.value.field == field
    assert guard.keys.list() == []


def test_calls_with_a_known_key_ask_the_storage_once(storage: Storage, settings: ServiceSettings) -> None:
    guard = Guard(storage, settings.model_copy(update={"key_cache_s": 60.0}))
    router = APIRouter(dependencies=[Depends(guard.require(Role.READER))])

    @router.get("/name")
    def name(request: Request) -> str | None:
        return caller_of(request).key_name

    made, key = guard.keys.create("someone", Role.READER)
    asked: list[str] = []
    event.listen(storage.engine, "before_cursor_execute", lambda *call: asked.append(call[2]))
    with TestClient(create_app("test", settings, [router])) as client:
        names = [client.get("/name", headers={"Authorization": f"Bearer {key}"}).json() for _ in range(20)]
        assert names == ["someone"] * 20
        assert len([statement for statement in asked if "api_keys" in statement]) == 1
        guard.keys.revoke(made.id)
        assert client.get("/name", headers={"Authorization": f"Bearer {key}"}).status_code == 401


def test_what_a_key_is_limited_to() -> None:
    assert Caller("k", "k", Role.READER).sees("anything")
    own = Caller("k", "k", Role.READER, frozenset({"movies"}))
    assert [own.sees(name) for name in ("movies", "movie", "")] == [True, False, False]


def test_a_key_is_revoked_at_once_here_and_in_time_elsewhere(storage: Storage, settings: ServiceSettings) -> None:
    here, slow, quick = (
        Guard(storage, settings.model_copy(update={"key_cache_s": seconds})) for seconds in (60.0, 60.0, 0.05)
    )
    made, key = here.keys.create("someone", Role.READER)
    for guard in (here, slow, quick):
        check(guard, key, Role.READER)
    here.keys.revoke(made.id)
    check(slow, key, Role.READER)
    time.sleep(0.05)
    for guard in (here, quick):
        with pytest.raises(AuthenticationError):
            check(guard, key, Role.READER)


def test_keys_are_listed_and_names_checked(guard: Guard) -> None:
    guard.keys.create("a", Role.READER)
    assert [(key.name, key.role) for key in guard.keys.list()] == [("a", Role.READER)]
    with pytest.raises(OptionError):
        guard.keys.create("", Role.READER)
    with pytest.raises(NotFoundError):
        guard.keys.revoke("nope")


def test_beyond_loopback_a_service_without_keys_refuses_to_start(storage: Storage, settings: ServiceSettings) -> None:
    settings.key_file.unlink()
    exposed = settings.model_copy(update={"host": "0.0.0.0"})
    with pytest.raises(OptionError, match=r"0\.0\.0\.0 without any key.*admin\.key"):
        Guard(storage, exposed).ensure_key()
    entry, _ = KeyStore(storage, settings.key_file).create("someone", Role.READER)
    Guard(storage, exposed).ensure_key()
    KeyStore(storage, settings.key_file).revoke(entry.id)
    with pytest.raises(OptionError):
        Guard(storage, exposed).ensure_key()


def test_on_loopback_a_service_without_keys_makes_the_admin_key(storage: Storage, settings: ServiceSettings) -> None:
    settings.key_file.unlink()
    Guard(storage, settings).ensure_key()
    assert len(settings.key_file.read_text().strip()) > 40
    settings.key_file.unlink()
    KeyStore(storage, settings.key_file).create("someone", Role.READER)
    Guard(storage, settings).ensure_key()
    assert not settings.key_file.exists()


def test_a_key_file_that_cannot_be_read_is_said_at_the_start(storage: Storage, settings: ServiceSettings) -> None:
    settings.key_file.write_bytes(b"\xff")
    with pytest.raises(OptionError, match="neither read nor written"):
        Guard(storage, settings).ensure_key()


@pytest.mark.parametrize(
    ("host", "loopback"), [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("x", False)]
)
def test_which_hosts_are_loopback(host: str, loopback: bool) -> None:
    assert ServiceSettings(host=host).is_loopback is loopback
