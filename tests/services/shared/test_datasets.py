from pathlib import Path

import fsspec
import pytest

from llactr_core.errors import NotFoundError, OptionError, PermissionDenied
from services.shared.datasets import data_root, resolve_dataset


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    (folder / "set").mkdir(parents=True)
    (folder / "set" / "train.csv").write_text("a\n1\n")
    (folder / "one file.csv").write_text("a\n1\n")
    (tmp_path / "secret.csv").write_text("key\n")
    return folder


def test_paths_and_file_uris_under_a_root_are_found(root: Path) -> None:
    file = root / "one file.csv"
    assert resolve_dataset(str(file), [root]) == file
    assert resolve_dataset(f"file://{root}/one%20file.csv", [root]) == file
    assert resolve_dataset(f"file://localhost{root}/set", [root]) == root / "set"
    assert resolve_dataset("set", [root]) == root / "set"
    assert resolve_dataset(str(root / "set" / ".." / "set"), [root]) == root / "set"


@pytest.mark.parametrize("given", ["{root}/../secret.csv", "/etc/passwd", "../secret.csv", "file:///etc/passwd"])
def test_what_lies_outside_is_refused_with_the_roots_named(root: Path, given: str) -> None:
    with pytest.raises(PermissionDenied, match=str(root)):
        resolve_dataset(given.format(root=root), [root])


def test_what_lies_outside_is_refused_alike_whether_it_exists(root: Path) -> None:
    with pytest.raises(PermissionDenied):
        resolve_dataset("/no/such/file", [root])


def test_symbolic_links_lead_nowhere_else(root: Path) -> None:
    (root / "link.csv").symlink_to(root.parent / "secret.csv")
    (root / "set" / "test.csv").symlink_to(root.parent / "secret.csv")
    (root / "inner.csv").symlink_to(root / "one file.csv")
    with pytest.raises(PermissionDenied):
        resolve_dataset(str(root / "link.csv"), [root])
    with pytest.raises(PermissionDenied, match=r"test\.csv"):
        resolve_dataset(str(root / "set"), [root])
    assert resolve_dataset(str(root / "inner.csv"), [root]) == root / "one file.csv"


def test_a_missing_dataset_is_not_found(root: Path) -> None:
    with pytest.raises(NotFoundError, match="no dataset"):
        resolve_dataset(str(root / "absent.csv"), [root])
    with pytest.raises(NotFoundError, match="no dataset"):
        resolve_dataset("x" * 300, [root])


@pytest.mark.parametrize("given", ["", "a\x00b", "file://host/x.csv", "file://["])
def test_what_is_no_path_and_no_url_is_refused(root: Path, given: str) -> None:
    with pytest.raises(OptionError):
        resolve_dataset(given, [root])


REMOTE = "memory://lake/logs"


@pytest.fixture
def lake() -> None:
    fsspec.filesystem("memory").pipe_file("/lake/logs/day=1/train.csv", b"a\n1\n")
    fsspec.filesystem("memory").pipe_file("/lake/logs2/train.csv", b"a\n1\n")


@pytest.mark.usefixtures("lake")
def test_files_and_folders_under_an_allowed_url_are_found(root: Path) -> None:
    roots = [root, data_root(f"{REMOTE}/")]
    assert str(resolve_dataset(f"{REMOTE}/day=1/train.csv", roots)) == f"{REMOTE}/day=1/train.csv"
    assert resolve_dataset("MEMORY://lake/logs/day=1/", roots).is_dir()
    assert resolve_dataset("set", roots) == root / "set"
    with pytest.raises(NotFoundError, match="day=2"):
        resolve_dataset(f"{REMOTE}/day=2", roots)


@pytest.mark.usefixtures("lake")
@pytest.mark.parametrize("given", ["memory://lake/logs2/train.csv", "memory://lake", "s3://lake/logs/x", "http://a/b"])
def test_urls_outside_every_prefix_are_refused_with_the_roots_named(root: Path, given: str) -> None:
    with pytest.raises(PermissionDenied, match=f"{root}, {REMOTE}"):
        resolve_dataset(given, [root, REMOTE])


@pytest.mark.parametrize(
    "given",
    [
        "local:///{root}/one file.csv",
        "simplecache::file:///{root}/one file.csv",
        "simplecache::memory://lake/logs/x.csv",
        "filecache://lake/logs",
        "memory://lake/logs/../secret.csv",
        "memory://lake/logs/%2e%2e/secret.csv",
        "memory://lake/logs//x.csv",
        "memory://lake/logs/*.csv",
        "memory://lake/logs/x.csv?part=1",
        "memory://lake/logs/a\\b",
        "://lake",
        "ftp://me:secret@lake/logs",
    ],
)
def test_odd_urls_are_refused_whatever_is_allowed(root: Path, given: str) -> None:
    with pytest.raises(OptionError) as caught:
        resolve_dataset(given.format(root=root), [root, REMOTE, "local:///", "ftp://lake"])
    assert "secret@" not in str(caught.value)


def test_roots_of_the_settings_are_folders_or_plain_urls() -> None:
    assert data_root("/data") == Path("/data")
    assert data_root("S3://bucket/logs/") == "s3://bucket/logs"
    for refused in ("file:///data", "simplecache::s3://bucket", "s3://"):
        with pytest.raises(OptionError):
            data_root(refused)


def test_without_roots_nothing_may_be_read(root: Path) -> None:
    with pytest.raises(PermissionDenied, match="none"):
        resolve_dataset(str(root / "set"), [])
