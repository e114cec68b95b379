import errno
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.local import LocalFileSystem
from object_store import ObjectStore

from llactr_core.errors import ArtifactError, OptionError, StorageFullError, UnavailableError
from services.shared.storage.artifacts import Artifacts, folder_digest

KINDS = ["folder", "file", "memory", "renaming", "s3"]
WRITER = """
import sys
from pathlib import Path
from services.shared.storage.artifacts import Artifacts
artifacts = Artifacts(sys.argv[1], Path(sys.argv[2]))
while True:
    for letter in b"ab":
        artifacts.put("tables/one", bytes([letter]) * 2_000_000)
        print(flush=True)
"""


class RenamingFileSystem(LocalFileSystem):
    """A store whose puts are not atomic but whose renames are, as SFTP's."""

    protocol = "renaming"

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(LocalFileSystem._strip_protocol("/" + path.removeprefix("renaming://").lstrip("/")))


@pytest.fixture
def url_of(tmp_path: Path, request: pytest.FixtureRequest) -> Callable[[str], str]:
    def url(kind: str) -> str:
        if kind == "s3":
            store: ObjectStore = request.getfixturevalue("object_store")
            return f"{store.url}/{tmp_path.name}"
        if kind == "renaming":
            fsspec.register_implementation("renaming", RenamingFileSystem, clobber=True)
        folder = tmp_path / "store"
        urls = {"folder": str(folder), "file": f"file://{folder}", "renaming": f"renaming:/{folder}"}
        return urls.get(kind, f"memory://{tmp_path.name}/store")

    return url


@pytest.fixture(params=KINDS)
def artifacts(request: pytest.FixtureRequest, tmp_path: Path, url_of: Callable[[str], str]) -> Artifacts:
    return Artifacts(url_of(request.param), tmp_path / "spool")


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    folder = tmp_path / "adapter"
    (folder / "inner").mkdir(parents=True)
    (folder / "weights.safetensors").write_bytes(bytes(range(256)) * 100)
    (folder / "inner" / "config.json").write_text("{}")
    return folder


def test_a_content_is_read_as_it_was_put_and_verified(artifacts: Artifacts) -> None:
    digest = artifacts.put("tables/one.bin", b"\x00\xff" * 1000)
    assert artifacts.get("tables/one.bin", digest) == b"\x00\xff" * 1000
    artifacts.put("tables/one.bin", b"damaged")
    with pytest.raises(ArtifactError, match="damaged"):
        artifacts.get("tables/one.bin", digest)
    assert artifacts.put("tables/one.bin", b"\x00\xff" * 1000) == digest
    assert artifacts.get("tables/one.bin", digest) == b"\x00\xff" * 1000
    assert artifacts.names("tables") == ["tables/one.bin"]
    assert abs(artifacts.modified_at("tables/one.bin") - time.time()) < 60
    artifacts.delete("tables/one.bin")
    artifacts.delete("tables/one.bin")
    with pytest.raises(ArtifactError, match="missing"):
        artifacts.get("tables/one.bin", digest)
    assert artifacts.names("tables") == []


def test_a_folder_comes_back_verified_under_its_digest(artifacts: Artifacts, adapter: Path) -> None:
    digest = artifacts.put_folder("adapters/x", adapter)
    copy = artifacts.folder("adapters/x", digest)
    assert copy.name == digest
    assert (copy / "weights.safetensors").read_bytes() == (adapter / "weights.safetensors").read_bytes()
    assert (copy / "inner" / "config.json").read_text() == "{}"
    assert artifacts.put_folder("adapters/y", copy) == digest
    artifacts.delete("adapters/x")
    assert artifacts.folder("adapters/x", digest) == copy, "a verified copy needs no store"
    (copy / "weights.safetensors").write_bytes(b"")
    with pytest.raises(ArtifactError, match="missing"):
        artifacts.folder("adapters/x", digest)
    assert artifacts.folder("adapters/y", digest) == copy
    assert (copy / "weights.safetensors").read_bytes() == (adapter / "weights.safetensors").read_bytes()


def test_a_copy_with_one_more_file_is_fetched_again(artifacts: Artifacts, adapter: Path) -> None:
    digest = artifacts.put_folder("adapters/x", adapter)
    copy = artifacts.folder("adapters/x", digest)
    (copy / "adapter_model.bin").write_bytes(b"other weights")
    assert sorted(path.name for path in artifacts.folder("adapters/x", digest).iterdir()) == [
        "SHA256SUMS",
        "inner",
        "weights.safetensors",
    ]


def test_a_damaged_file_of_a_stored_folder_is_refused(artifacts: Artifacts, adapter: Path, tmp_path: Path) -> None:
    digest = artifacts.put_folder("adapters/x", adapter)
    artifacts.put("adapters/x/inner/config.json", b"[]")
    with pytest.raises(ArtifactError, match=r"config\.json is damaged"):
        artifacts.folder("adapters/x", digest)
    assert [path.name for path in (tmp_path / "spool").iterdir()] == []
    with pytest.raises(ArtifactError, match="no SHA-256"):
        artifacts.folder("adapters/x", "../adapter")


@pytest.mark.parametrize("name", ["", "/etc/x", "a//b", "../x", "a/../x", "a/.hidden", "a b", "a\\b", "a\n", "%2e"])
def test_names_lead_nowhere_else(tmp_path: Path, name: str) -> None:
    artifacts = Artifacts(str(tmp_path / "store"), tmp_path / "spool")
    for call in (lambda: artifacts.put(name, b""), lambda: artifacts.get(name, ""), lambda: artifacts.delete(name)):
        with pytest.raises(OptionError, match="cannot name an artifact"):
            call()


def test_a_folder_without_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ArtifactError, match="no file"):
        Artifacts(str(tmp_path / "store"), tmp_path / "spool").put_folder("adapters/x", tmp_path / "empty")


@pytest.fixture
def writers(tmp_path: Path) -> Iterator[Callable[[str], subprocess.Popen[bytes]]]:
    started: list[subprocess.Popen[bytes]] = []

    def start(url: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", WRITER, url, str(tmp_path / "spool")]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[4]))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_writers_killed_at_any_moment_leave_a_whole_content(
    writers: Callable[[str], subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    artifacts = Artifacts(str(tmp_path / "store"), tmp_path / "spool")
    digests = {artifacts.put("tables/one", bytes([letter]) * 2_000_000) for letter in b"ab"}
    dice = random.Random(3)
    for _ in range(3):
        pair = [writers(str(tmp_path / "store")) for _ in range(2)]
        for process in pair:
            assert process.stdout is not None
            process.stdout.readline()
        time.sleep(dice.random() * 0.2)
        for process in pair:
            process.kill()
            process.wait(10)
        assert any(_holds(artifacts, digest) for digest in digests)
        assert artifacts.names("tables") == ["tables/one"]


def _holds(artifacts: Artifacts, digest: str) -> bool:
    try:
        return len(artifacts.get("tables/one", digest)) == 2_000_000
    except ArtifactError:
        return False


def test_many_at_once_share_one_copy(artifacts: Artifacts, adapter: Path) -> None:
    digest = artifacts.put_folder("adapters/x", adapter)
    with ThreadPoolExecutor(8) as pool:
        copies = set(pool.map(lambda _: artifacts.folder("adapters/x", digest), range(16)))
    assert [copy.name for copy in copies] == [digest]


def test_what_a_killed_process_left_half_fetched_is_swept(tmp_path: Path) -> None:
    for name, age in ((".a.1", 7200), (".b.2", 60)):
        (tmp_path / "spool" / name).mkdir(parents=True)
        os.utime(tmp_path / "spool" / name, (time.time() - age,) * 2)
    Artifacts(str(tmp_path / "store"), tmp_path / "spool")
    assert [path.name for path in (tmp_path / "spool").iterdir()] == [".b.2"]


def test_files_are_readable_as_far_as_the_umask_allows(tmp_path: Path) -> None:
    Artifacts(str(tmp_path / "store"), tmp_path / "spool").put("tables/one", b"1")
    umask = os.umask(0)
    os.umask(umask)
    assert (tmp_path / "store" / "tables" / "one").stat().st_mode & 0o777 == 0o644 & ~umask


def test_a_full_disk_is_told_and_leaves_no_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    artifacts = Artifacts(str(tmp_path / "store"), tmp_path / "spool")

    def full(_handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageFullError, match="is full; free some space"):
        artifacts.put("tables/one", b"1")
    monkeypatch.undo()
    assert list((tmp_path / "store" / "tables").iterdir()) == []


def test_a_folder_that_is_gone_is_no_missing_artifact(tmp_path: Path) -> None:
    artifacts = Artifacts(str(tmp_path / "store"), tmp_path / "spool")
    (tmp_path / "store").rmdir()
    with pytest.raises(UnavailableError, match="is gone"):
        artifacts.get("tables/one", "0" * 64)


def test_a_store_that_is_away_is_waited_for(object_store: ObjectStore, tmp_path: Path) -> None:
    artifacts = Artifacts(f"{object_store.url}/away", tmp_path / "spool")
    digest = artifacts.put("tables/one", b"1")
    object_store.kill()
    try:
        with pytest.raises(UnavailableError, match="away/tables/one: the store does not answer"):
            artifacts.get("tables/one", digest)
    finally:
        object_store.start()
    artifacts.put("tables/one", b"1")
    assert artifacts.get("tables/one", digest) == b"1"


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("simplecache::s3://bucket/x", "no plain URL"),
        ("local:///etc", "leads to local files"),
        ("s3://bucket/../x", "an empty part"),
        ("s3://bucket/%2e%2e/x", "no plain URL"),
        ("sftp://me:secret@host/x", "holds a password"),
        ("nothing://bucket/x", "nothing"),
        ("file://host/x", "not on this machine"),
    ],
)
def test_urls_that_cannot_be_a_store_are_refused(tmp_path: Path, url: str, why: str) -> None:
    with pytest.raises(OptionError, match=why) as caught:
        Artifacts(url, tmp_path / "spool")
    assert "secret" not in str(caught.value)


@pytest.mark.skipif(find_spec("gcsfs") is not None, reason="the driver is installed")
def test_a_missing_driver_is_named(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"llactr\[gs\]"):
        Artifacts("gs://bucket/x", tmp_path / "spool")


@pytest.mark.parametrize("kind", ["folder", "renaming", "memory"])
def test_threads_may_put_one_name_at_once(kind: str, url_of: Callable[[str], str], tmp_path: Path) -> None:
    artifacts = Artifacts(url_of(kind), tmp_path / "spool")
    contents = [bytes([number]) * 50_000 for number in range(8)]
    barrier = threading.Barrier(8)

    def put(content: bytes) -> str:
        barrier.wait()
        return artifacts.put("tables/one", content)

    with ThreadPoolExecutor(8) as pool:
        digests = list(pool.map(put, contents))
    kept = [content for content, digest in zip(contents, digests, strict=True) if _is_kept(artifacts, digest)]
    assert len(kept) == 1


def _is_kept(artifacts: Artifacts, digest: str) -> bool:
    try:
        return bool(artifacts.get("tables/one", digest))
    except ArtifactError:
        return False


def test_names_and_times_of_what_is_kept(artifacts: Artifacts, adapter: Path) -> None:
    before = time.time()
    assert artifacts.names("tables") == []
    artifacts.put("tables/one.bin", b"1")
    digest = artifacts.put_folder("adapters/a", adapter)
    assert digest == folder_digest(adapter)
    assert artifacts.names("tables") == ["tables/one.bin"]
    expected = ["SHA256SUMS", "inner/config.json", "weights.safetensors"]
    assert sorted(artifacts.names("adapters")) == [f"adapters/a/{name}" for name in expected]
    for name in artifacts.names("adapters"):
        assert before - 2 <= artifacts.modified_at(name) <= time.time() + 2
    artifacts.delete("adapters/a")
    assert artifacts.names("adapters") == []
    with pytest.raises(FileNotFoundError):
        artifacts.modified_at("adapters/a/weights.safetensors")
