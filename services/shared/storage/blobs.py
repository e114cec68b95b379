"""Named contents in a local folder or under a fsspec URL: read, written as a whole, deleted."""

import errno
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Protocol

from llactr_core.errors import StorageFullError, UnavailableError
from llactr_core.files import write_atomic
from llactr_core.remote import RemotePath, answering, file_path, is_url

# Readable for other accounts as far as the umask allows: an engine of another account reads adapters.
MODE = 0o644
_FULL = (errno.ENOSPC, errno.EDQUOT)
# Object stores: a put is either there as a whole or not at all.
_WHOLE_PUTS = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "memory"})


class Blobs(Protocol):
    """Contents by name. A reader sees the old or the new content, never a part, whenever a writer is killed."""

    def read(self, name: str) -> bytes:
        """The content.

        Raises:
            FileNotFoundError: there is none of that name.
            UnavailableError: the store does not answer.
        """

    def write(self, name: str, content: bytes) -> None:
        """Put or replace a content.

        Raises:
            UnavailableError: the store does not answer, or is full.
        """

    def delete(self, name: str) -> None:
        """Remove a content, or all whose names begin with `name` and a slash; fine where there is none.

        Raises:
            UnavailableError: the store does not answer.
        """

    def names(self, folder: str) -> list[str]:
        """The names of all contents below a folder, those that are half written left out.

        Raises:
            UnavailableError: the store does not answer.
        """

    def modified_at(self, name: str) -> float:
        """When the content was written, in seconds since the epoch.

        Raises:
            FileNotFoundError: there is none of that name.
            UnavailableError: the store does not answer.
        """


def open_blobs(url: str) -> Blobs:
    """The contents under a local folder (a path or a file:// URL), or under any other fsspec URL.

    Raises:
        OptionError: the URL is not plain, or its driver is not installed.
        UnavailableError: the store does not answer, or the folder cannot be made.
    """
    if url.startswith("file://"):
        return FolderBlobs(file_path(url))
    return RemoteBlobs(RemotePath.at(url)) if is_url(url) else FolderBlobs(Path(url))


class FolderBlobs:
    """Files in a local folder, flushed to the disk before they get their names."""

    def __init__(self, root: Path) -> None:
        self._root = root
        with writing(root):
            root.mkdir(parents=True, exist_ok=True)

    def read(self, name: str) -> bytes:
        """The content of the file."""
        with writing(self._root):
            return (self._root / name).read_bytes()

    def write(self, name: str, content: bytes) -> None:
        """Put or replace the file."""
        with writing(self._root):
            write_atomic(self._root / name, content, MODE)

    def delete(self, name: str) -> None:
        """Remove the file or folder."""
        path = self._root / name
        with writing(self._root):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)

    def names(self, folder: str) -> list[str]:
        """The files below the folder."""
        with writing(self._root):
            files = [path for path in (self._root / folder).rglob("*") if path.is_file()]
        return [path.relative_to(self._root).as_posix() for path in files if not path.name.startswith(".")]

    def modified_at(self, name: str) -> float:
        """When the file was written."""
        with writing(self._root):
            return (self._root / name).stat().st_mtime


class RemoteBlobs:
    """Files under a fsspec URL."""

    def __init__(self, root: RemotePath) -> None:
        self._root = root
        self._fs = root.filesystem
        self._whole_puts = root.url.partition("://")[0] in _WHOLE_PUTS

    def read(self, name: str) -> bytes:
        """The content of the file."""
        file = self._root / name
        with answering(file.url):
            content: bytes = self._fs.cat_file(file.path)
        return content

    def write(self, name: str, content: bytes) -> None:
        """Put the file; where a put is not one step, under a hidden name that is then changed."""
        file = self._root / name
        with answering(file.url):
            if self._whole_puts:
                self._fs.pipe_file(file.path, content)
                return
            folder, _, last = file.path.rpartition("/")
            hidden = f"{folder}/.{last}.{secrets.token_hex(6)}"
            self._fs.makedirs(folder, exist_ok=True)
            self._fs.pipe_file(hidden, content)
            self._fs.mv(hidden, file.path)

    def delete(self, name: str) -> None:
        """Remove the file or folder."""
        file = self._root / name
        with answering(file.url):
            try:
                self._fs.rm(file.path, recursive=True)
            except FileNotFoundError:
                return

    def names(self, folder: str) -> list[str]:
        """The files below the folder."""
        place = self._root / folder
        with answering(place.url):
            files: list[str] = self._fs.find(place.path)
        root = place.path.rstrip("/").removesuffix(folder)
        names = [file.removeprefix(root) for file in files]
        return [name for name in names if not name.rpartition("/")[2].startswith(".")]

    def modified_at(self, name: str) -> float:
        """When the file was written."""
        file = self._root / name
        with answering(file.url):
            written: datetime = self._fs.modified(file.path)
        return written.timestamp()


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Around the use of a local folder: what the disk refuses is an UnavailableError, but for a missing file.

    Raises:
        StorageFullError: the disk is full.
        UnavailableError: the folder is gone or may not be used; a job waits and tries again.
    """
    try:
        yield
    except FileNotFoundError as error:
        if folder.is_dir():
            raise
        raise UnavailableError(f"the folder {folder} is gone; mount or make it again") from error
    except OSError as error:
        if error.errno in _FULL:
            raise StorageFullError(f"the disk of {folder} is full; free some space or name another folder") from error
        raise UnavailableError(f"the folder {folder} cannot be used: {error}; let this account use it") from error
