"""Adapters, tables and other made things: written once, named by their users, and verified whenever they are read."""

import fcntl
import hashlib
import re
import secrets
import shutil
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from llactr_core.errors import ArtifactError, OptionError
from llactr_core.files import file_digest
from services.shared.storage.blobs import open_blobs, writing

# The list of a folder's files, as `sha256sum --check` reads it; its own digest stands for the whole folder.
SUMS = "SHA256SUMS"
STALE_S = 3600.0
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+=-]*")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_LINE = re.compile(r"([0-9a-f]{64})  (.+)")


class Artifacts:
    """Immutable contents under a local folder or any fsspec URL, safe for many processes at once.

    Every digest is a SHA-256 in hex. A kill at any moment leaves the old content, the new one, or a hidden file.
    """

    def __init__(self, url: str, spool: Path) -> None:
        """`url`: a local folder or a fsspec URL. `spool`: a local folder for verified copies of folders.

        Raises:
            OptionError: the URL is not plain, or its driver is not installed.
            UnavailableError: the store does not answer, or a folder cannot be made.
        """
        self._blobs = open_blobs(url)
        self._spool = spool
        with writing(spool):
            spool.mkdir(parents=True, exist_ok=True)
            _sweep(spool)

    def put(self, name: str, content: bytes) -> str:
        """Keep a content. The same again repairs it where it was damaged, and renews the time of `modified_at`.

        Args:
            name: parts of letters, digits and ``_.+=-``, separated by slashes, such as ``tables/abc.safetensors``.

        Returns:
            The content's digest.

        Raises:
            OptionError: the name has other characters, or a part that begins with a dot.
            UnavailableError: the store does not answer, or is full.
        """
        self._blobs.write(_checked(name), content)
        return hashlib.sha256(content).hexdigest()

    def get(self, name: str, digest: str) -> bytes:
        """A content that was put.

        Raises:
            ArtifactError: there is none of that name, or it does not match the digest.
            UnavailableError: the store does not answer.
        """
        try:
            content = self._blobs.read(_checked(name))
        except FileNotFoundError as error:
            raise ArtifactError(f"the artifact {name} is missing in the store; restore it, or make it anew") from error
        if hashlib.sha256(content).hexdigest() != digest:
            raise ArtifactError(
                f"the artifact {name} is damaged: its SHA-256 is not {digest}; restore it, or make it anew"
            )
        return content

    def put_folder(self, name: str, folder: Path) -> str:
        """Keep all files of a folder, those of its folders too, and the list of them last.

        Returns:
            The folder's digest, which follows from the files' names and contents alone.

        Raises:
            ArtifactError: the folder has no file.
            OptionError, UnavailableError: as for `put`.
        """
        files = _files(folder)
        sums = _sums(files)
        for file, path in files.items():
            self.put(f"{name}/{file}", path.read_bytes())
        return self.put(f"{name}/{SUMS}", sums)

    def folder(self, name: str, digest: str) -> Path:
        """A verified local copy of a folder that was put; its last path part is the digest. Nobody may write there.

        Raises:
            ArtifactError: the folder or a file is missing in the store, or does not match the digest.
            UnavailableError: the store does not answer, or the local disk is full.
        """
        if not _DIGEST.fullmatch(digest):
            raise ArtifactError(f"{digest!r} is no SHA-256 in hex; the artifact {name} cannot be looked up")
        target = self._spool / digest
        if not _matches(target, digest):
            fetched = self._spool / f".{digest}.{secrets.token_hex(6)}"
            try:
                self._fetch(name, digest, fetched)
                self._swap_in(fetched, target)
            finally:
                shutil.rmtree(fetched, ignore_errors=True)
        return target

    def delete(self, name: str) -> None:
        """Remove a content or a folder; fine where there is none.

        Raises:
            UnavailableError: the store does not answer.
        """
        self._blobs.delete(_checked(name))

    def forget_copies(self, needed: Collection[str], age_s: float) -> None:
        """Remove the local copies of folders whose digests are not needed and that were fetched before `age_s`."""
        for copy in self._spool.iterdir():
            if _DIGEST.fullmatch(copy.name) and copy.name not in needed and _is_older(copy, age_s):
                with writing(self._spool), _locked(self._spool / ".lock"):
                    shutil.rmtree(copy, ignore_errors=True)

    def names(self, folder: str) -> list[str]:
        """The names of all contents below a folder such as ``tables``, also of those that are files of folders.

        Raises:
            UnavailableError: the store does not answer.
        """
        return self._blobs.names(_checked(folder))

    def modified_at(self, name: str) -> float:
        """When a content was put, in seconds since the epoch.

        Raises:
            FileNotFoundError: there is none of that name.
            UnavailableError: the store does not answer.
        """
        return self._blobs.modified_at(_checked(name))

    def _fetch(self, name: str, digest: str, place: Path) -> None:
        sums = self.get(f"{name}/{SUMS}", digest)
        with writing(self._spool):
            place.mkdir()
            (place / SUMS).write_bytes(sums)
        for file, expected in _entries(sums):
            content = self.get(f"{name}/{file}", expected)
            with writing(self._spool):
                (place / file).parent.mkdir(parents=True, exist_ok=True)
                (place / file).write_bytes(content)

    def _swap_in(self, fetched: Path, target: Path) -> None:
        with writing(self._spool), _locked(self._spool / ".lock"):
            if not _matches(target, target.name):
                shutil.rmtree(target, ignore_errors=True)
                fetched.rename(target)


def folder_digest(folder: Path) -> str:
    """The digest that `put_folder` gives for a folder.

    Raises:
        ArtifactError: the folder has no file.
    """
    return hashlib.sha256(_sums(_files(folder))).hexdigest()


def _files(folder: Path) -> dict[str, Path]:
    """The files of a folder and of its folders by their names in it, in order."""
    files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    files.pop(SUMS, None)
    if not files:
        raise ArtifactError(f"{folder} has no file that could be kept as an artifact")
    return dict(sorted(files.items()))


def _sums(files: dict[str, Path]) -> bytes:
    return "".join(f"{file_digest(path)}  {name}\n" for name, path in files.items()).encode()


def _checked(name: str) -> str:
    if not all(_PART.fullmatch(part) for part in name.split("/")):
        raise OptionError(
            f"{name!r} cannot name an artifact; give parts of letters, digits and _.+=- that begin with no dot, "
            "separated by slashes"
        )
    return name


def _entries(sums: bytes) -> Iterator[tuple[str, str]]:
    """File name and digest of each line."""
    for line in sums.decode().splitlines():
        match = _LINE.fullmatch(line)
        if match is None:
            raise ArtifactError(f"the line {line!r} of {SUMS} is no digest and file name; make the artifact anew")
        yield _checked(match[2]), match[1]


def _matches(folder: Path, digest: str) -> bool:
    """Whether a local folder holds exactly the files of its list, and the list is the one with that digest."""
    try:
        if file_digest(folder / SUMS) != digest:
            return False
        listed = dict(_entries((folder / SUMS).read_bytes()))
        present = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}
        return present == {SUMS, *listed} and all(file_digest(folder / name) == listed[name] for name in listed)
    except OSError:
        return False


def _sweep(spool: Path) -> None:
    """Remove what killed processes left half fetched."""
    for left in spool.glob(".*.*"):
        if _is_older(left, STALE_S):
            shutil.rmtree(left, ignore_errors=True)


def _is_older(path: Path, age_s: float) -> bool:
    try:
        return time.time() - path.stat().st_mtime > age_s
    except FileNotFoundError:  # another process removed it
        return False


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
