"""The file of the admin key: read when it changes, and what is wrong with it is said once."""

import logging
import os
from pathlib import Path

import pytest

from services.shared.access.admin_key import AdminKey, ensure_admin_key


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "admin.key"
    ensure_admin_key(found)
    return found


def test_a_file_that_did_not_change_is_not_read_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.utime(path, (1, 1))
    admin, key = AdminKey(path), path.read_text().strip()
    assert admin.read() == key
    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_text", lambda *_args, **_kwargs: pytest.fail("read again"))
        assert admin.read() == key
    path.write_text("other")
    assert admin.read() == "other"
    path.write_text("OTHER")
    assert admin.read() == "OTHER"
    path.unlink()
    assert admin.read() is None


@pytest.mark.parametrize("is_folder", [True, False])
def test_what_cannot_be_read_is_no_key(path: Path, caplog: pytest.LogCaptureFixture, is_folder: bool) -> None:
    path.unlink()
    if is_folder:
        path.mkdir()
    else:
        path.write_bytes(b"\xff\xfe")
    admin = AdminKey(path)
    assert [admin.read() for _ in range(3)] == [None] * 3
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


def test_a_file_that_others_may_read_is_warned_of(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    admin = AdminKey(path)
    admin.read()
    assert caplog.records == []
    path.chmod(0o640)
    assert [admin.read() is None for _ in range(3)] == [False] * 3
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "0600" in caplog.text
