from pathlib import Path

import pytest

from llactr_core.errors import NotFoundError, OptionError, PermissionDenied
from services.shared.datasets import resolve_dataset


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


@pytest.mark.parametrize(
    "given", ["", "a\x00b", "http://example.org/x.csv", "s3://bucket/x", "file://host/x.csv", "file://["]
)
def test_other_schemes_are_refused(root: Path, given: str) -> None:
    with pytest.raises(OptionError):
        resolve_dataset(given, [root])


def test_without_roots_nothing_may_be_read(root: Path) -> None:
    with pytest.raises(PermissionDenied, match="none"):
        resolve_dataset(str(root / "set"), [])
