import stat
import threading
from pathlib import Path

import pytest
from sqlalchemy import select

from llactr_core.errors import AuthenticationError, NotFoundError, OptionError, PermissionDenied
from services.shared.auth import Guard, Role, ensure_admin_key
from services.shared.keys import KeyRow, KeyStore
from services.shared.settings import ServiceSettings
from services.shared.storage import Storage


@pytest.fixture
def guard(storage: Storage, settings: ServiceSettings) -> Guard:
    return Guard(storage, settings)


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


@pytest.mark.parametrize("held", list(Role))
@pytest.mark.parametrize("needed", list(Role))
def test_a_role_may_do_what_lower_ones_may(guard: Guard, held: Role, needed: Role) -> None:
    _, key = guard.keys.create("someone", held)
    if held >= needed:
        guard.check(key, needed)
    else:
        with pytest.raises(PermissionDenied, match=f"role {held.label}.*needs {needed.label}"):
            guard.check(key, needed)


def test_reads_are_open_on_loopback_and_nothing_else_is(guard: Guard) -> None:
    guard.check(None, Role.READER)
    for role in (Role.TRAINER, Role.ADMIN):
        with pytest.raises(AuthenticationError, match="Bearer"):
            guard.check(None, role)


@pytest.mark.parametrize("change", [{"require_key_to_read": True}, {"host": "0.0.0.0"}])
def test_reads_need_a_key_where_that_is_set(
    storage: Storage, settings: ServiceSettings, change: dict[str, object]
) -> None:
    guard = Guard(storage, settings.model_copy(update=change))
    with pytest.raises(AuthenticationError):
        guard.check(None, Role.READER)
    guard.check(ensure_admin_key(settings.key_file), Role.READER)


def test_an_unknown_or_revoked_key_is_refused_even_for_open_reads(guard: Guard) -> None:
    entry, key = guard.keys.create("someone", Role.ADMIN)
    guard.keys.revoke(entry.id)
    for given in (key, "guess", ""):
        with pytest.raises(AuthenticationError, match="not known"):
            guard.check(given, Role.READER)


def test_the_admin_key_file_counts_and_may_be_changed(guard: Guard, settings: ServiceSettings) -> None:
    old = ensure_admin_key(settings.key_file)
    guard.check(old, Role.ADMIN)
    settings.key_file.write_text("another-key\n")
    guard.check("another-key", Role.ADMIN)
    with pytest.raises(AuthenticationError):
        guard.check(old, Role.ADMIN)


def test_only_digests_are_stored(storage: Storage, guard: Guard) -> None:
    _, key = guard.keys.create("someone", Role.READER)
    with storage.reading() as session:
        rows = session.scalars(select(KeyRow)).all()
    assert len(rows) == 1
    assert key not in str([vars(row) for row in rows])


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
        Guard(storage, exposed).check_exposure()
    Guard(storage, settings).check_exposure()
    entry, _ = KeyStore(storage, settings.key_file).create("someone", Role.READER)
    Guard(storage, exposed).check_exposure()
    KeyStore(storage, settings.key_file).revoke(entry.id)
    with pytest.raises(OptionError):
        Guard(storage, exposed).check_exposure()


@pytest.mark.parametrize(
    ("host", "loopback"), [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("x", False)]
)
def test_which_hosts_are_loopback(host: str, loopback: bool) -> None:
    assert ServiceSettings(host=host).is_loopback is loopback
