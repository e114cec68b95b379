"""Files under a URL that fsspec reads, such as s3:// and gs://, with those methods of pathlib that readers use."""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

from fsspec.core import url_to_fs
from fsspec.spec import AbstractFileSystem

from llactr_core.errors import LlactrError, OptionError, UnavailableError

READ_BYTES = 4 * 2**20
# These lead to the machine's own files, or wrap another file.
_LOCAL = frozenset(
    {
        *("file", "local", "asynclocal", "dir", "git"),
        *("zip", "tar", "libarchive", "reference", "simplecache", "filecache", "blockcache", "cached"),
    }
)
_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs"}
_REFUSED = re.compile(r"::|[%?#*\[\]\\\x00-\x1f\x7f]")


def is_url(text: str) -> bool:
    """Whether a text is meant as a URL and not as a local path."""
    return "://" in text or "::" in text


def file_path(url: str, field: str | None = None) -> Path:
    """The path of a file:// URL.

    Raises:
        OptionError: it is no URL, or names another machine.
    """
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise OptionError(f"{url!r} is no URL ({error}); give a local path or file:///path", field=field) from None
    if parts.scheme != "file" or parts.netloc not in ("", "localhost"):
        raise OptionError(f"{url!r} is not on this machine; give a local path or file:///path", field=field)
    return Path(unquote(parts.path))


def checked_url(url: str, field: str | None = None) -> str:
    """A URL in its one plain form: a scheme in small letters, no trailing slash.

    Raises:
        OptionError: it leads to local files, wraps another URL, holds a password, or has a part that could mean
            something else to the store: "..", ".", an empty one, percent-encoding, a wildcard.
    """
    scheme, _, rest = url.partition("://")
    scheme, rest = scheme.lower(), rest.rstrip("/")
    if ":" in rest.partition("/")[0].rpartition("@")[0]:
        raise OptionError(
            "the URL holds a password; give credentials as the store's driver reads them from the environment "
            "(AWS_ACCESS_KEY_ID and the like)",
            field=field,
        )
    if _REFUSED.search(url) or not re.fullmatch(r"[a-z][a-z0-9+.-]*", scheme):
        raise OptionError(
            f"{url!r} is no plain URL; give scheme://bucket/path without '::', percent-encoding and wildcards",
            field=field,
        )
    if scheme in _LOCAL:
        raise OptionError(f"{url!r} leads to local files; give the path of a local folder as it is", field=field)
    if any(part in ("", ".", "..") for part in rest.split("/")):
        raise OptionError(f"{url!r} has an empty part, '.' or '..'; give scheme://bucket/path in full", field=field)
    return f"{scheme}://{rest}"


@contextmanager
def answering(url: str) -> Iterator[None]:
    """Around calls of a store: whatever its driver raises is an UnavailableError, but for a missing file or driver."""
    try:
        yield
    except (LlactrError, FileNotFoundError, ImportError):
        raise
    except PermissionError as error:
        raise UnavailableError(
            f"{url}: the store refuses the credentials that this process has ({error}); let them read and write there"
        ) from error
    except Exception as error:  # each driver raises what its own libraries do
        reason = f"{type(error).__name__}: {error}"
        raise UnavailableError(f"{url}: the store does not answer as it should ({reason}); try again later") from error


@dataclass(frozen=True)
class RemotePath:
    """A file or folder under a URL. Nothing is kept between calls: each asks the store."""

    filesystem: AbstractFileSystem
    path: str
    url: str

    @classmethod
    def at(cls, url: str) -> "RemotePath":
        """The file or folder at a URL, there or not.

        Raises:
            OptionError: the URL is not plain (`checked_url`), or the driver of its scheme is not installed.
            UnavailableError: the store does not answer.
        """
        url = checked_url(url)
        scheme = url.partition("://")[0]
        try:
            with answering(url):
                filesystem, path = _opened(url)
        except ImportError as error:
            extra = _EXTRAS.get(scheme)
            remedy = f"pip install 'llactr[{extra}]'" if extra else str(error)
            raise OptionError(f"{url}: the driver for {scheme}:// is not installed; {remedy}") from error
        return cls(filesystem, path, url)

    def __str__(self) -> str:
        return self.url

    def __truediv__(self, name: str) -> "RemotePath":
        return RemotePath(self.filesystem, f"{self.path}/{name}", f"{self.url}/{name}")

    @property
    def name(self) -> str:
        """The last part of the URL."""
        return PurePosixPath(self.url).name

    @property
    def suffix(self) -> str:
        """The end of the name from its last dot on."""
        return PurePosixPath(self.url).suffix

    @property
    def suffixes(self) -> list[str]:
        """All ends of the name that begin with a dot, such as [".jsonl", ".gz"]."""
        return PurePosixPath(self.url).suffixes

    def exists(self) -> bool:
        """Whether there is a file or a folder."""
        return self._info() is not None

    def is_file(self) -> bool:
        """Whether there is a file."""
        info = self._info()
        return info is not None and info["type"] == "file"

    def is_dir(self) -> bool:
        """Whether there is a folder, or a prefix with files under it."""
        info = self._info()
        return info is not None and info["type"] == "directory"

    def iterdir(self) -> Iterator["RemotePath"]:
        """What lies directly in this folder."""
        with answering(self.url):
            entries = self.filesystem.ls(self.path, detail=False)
        for entry in entries:
            yield self / PurePosixPath(entry).name

    def size(self) -> int:
        """The bytes of the file.

        Raises:
            FileNotFoundError: there is none.
            UnavailableError: the store does not answer, or does not say.
        """
        info = self._info()
        if info is None:
            raise FileNotFoundError(self.url)
        if info.get("size") is None:
            raise UnavailableError(f"{self.url}: the store does not say how large the file is; try again later")
        return int(info["size"])

    def open(self, mode: Literal["rb"] = "rb") -> io.BufferedReader:
        """The file's bytes as a stream that can seek; 4 MiB at a time are held.

        Raises:
            FileNotFoundError: there is no such file.
            UnavailableError: here or while reading: the store does not answer, or the file has changed its size.
        """
        return io.BufferedReader(_Ranges(self), READ_BYTES)

    def _info(self) -> dict[str, Any] | None:
        with answering(self.url):
            try:
                info: dict[str, Any] = self.filesystem.info(self.path)
            except FileNotFoundError:
                return None
        return info


class _Ranges(io.RawIOBase):
    """The bytes of a remote file, each read a request for a range of them."""

    def __init__(self, remote: RemotePath) -> None:
        self._remote = remote
        self._size = remote.size()
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(0, start + offset)
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: Any) -> int:
        start, end = self._position, min(self._position + len(buffer), self._size)
        if start >= end:
            return 0
        with answering(self._remote.url):
            content = self._remote.filesystem.cat_file(self._remote.path, start=start, end=end)
        if len(content) != end - start:
            raise UnavailableError(
                f"{self._remote}: {len(content)} bytes came where {end - start} were asked for; the file has changed, "
                "or its store gives no parts of files: read it again, or copy it to another store"
            )
        buffer[: len(content)] = content
        self._position = end
        return len(content)


def _opened(url: str) -> tuple[AbstractFileSystem, str]:
    """Without a cache of listings: other processes write there too."""
    try:
        filesystem, path = url_to_fs(url, use_listings_cache=False)
    except ValueError as error:
        raise OptionError(f"{url}: {error}; give s3://, gs:// or another scheme that fsspec knows") from error
    return filesystem, str(path)


Location = Path | RemotePath


def located(place: str | Location) -> Location:
    """A local path, or what lies under a URL.

    Raises:
        OptionError, UnavailableError: as for `RemotePath.at`.
    """
    if isinstance(place, str):
        return RemotePath.at(place) if is_url(place) else Path(place)
    return place


def size_of(place: Location) -> int:
    """The bytes of a file."""
    return place.size() if isinstance(place, RemotePath) else place.stat().st_size
