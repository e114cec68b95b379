"""Which datasets a caller may name: only those under the folders and URL prefixes that the operator allowed."""

from collections.abc import Sequence
from pathlib import Path

from llactr_core.errors import NotFoundError, OptionError, PermissionDenied
from llactr_core.remote import Location, RemotePath, checked_url, file_path, is_url

# A local folder, or the URL under which remote datasets lie.
DataRoot = Path | str


def data_root(given: object) -> object:
    """A folder or URL as the settings give it: a URL in its plain form, a path as a Path.

    Raises:
        OptionError: the URL is not plain, or leads to local files.
    """
    if not isinstance(given, str):
        return given
    return checked_url(given, field="data_roots") if is_url(given) else Path(given)


def resolve_dataset(uri: str, roots: Sequence[DataRoot]) -> Location:
    """Where a dataset lies: a local path (or file:///path) with every symbolic link followed, or a file under a URL.

    A relative path is looked for in the process's own folder and then in each root that is a folder.

    Raises:
        OptionError: the URI is empty or no plain URL, or the driver of its scheme is not installed.
        PermissionDenied: it, or a file of a local folder, lies outside every root.
        NotFoundError: there is no such file or folder under a root.
        UnavailableError: the store of a remote dataset does not answer.
    """
    if not uri or "\x00" in uri:
        raise OptionError("the dataset is empty or holds a NUL; give a local path or a URL", field="dataset")
    if is_url(uri) and not uri.startswith("file://"):
        return _remote(uri, roots)
    return _local(uri, roots)


def _remote(uri: str, roots: Sequence[DataRoot]) -> RemotePath:
    url = checked_url(uri, field="dataset")
    if not any(url == root or url.startswith(f"{root}/") for root in roots if isinstance(root, str)):
        raise _outside(uri, roots)
    remote = RemotePath.at(url)
    if not remote.exists():
        raise NotFoundError(f"there is no dataset {uri!r}; put it there, or name another one")
    return remote


def _local(uri: str, roots: Sequence[DataRoot]) -> Path:
    given = file_path(uri, field="dataset") if is_url(uri) else Path(uri)
    allowed = [root.resolve() for root in roots if isinstance(root, Path)]
    candidates = [given.resolve()] if given.is_absolute() else [(base / given).resolve() for base in (Path(), *allowed)]
    inside = [path for path in candidates if _is_inside(path, allowed)]
    if not inside:
        raise _outside(uri, roots)
    found = next((path for path in inside if _exists(path)), None)
    if found is None:
        raise NotFoundError(f"there is no dataset {uri!r}; it was looked for in the allowed folders ({_named(roots)})")
    if found.is_dir():
        for entry in found.iterdir():
            if not _is_inside(entry.resolve(), allowed):
                raise PermissionDenied(
                    f"{entry.name!r} in the dataset {uri!r} leads outside the allowed folders ({_named(roots)})"
                )
    return found


def _outside(uri: str, roots: Sequence[DataRoot]) -> PermissionDenied:
    return PermissionDenied(
        f"the dataset {uri!r} lies outside the allowed folders and URLs ({_named(roots)}); move it into one"
    )


def _named(roots: Sequence[DataRoot]) -> str:
    return ", ".join(str(root.resolve() if isinstance(root, Path) else root) for root in roots) or "none"


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name that is too long for any file
        return False


def _is_inside(path: Path, roots: Sequence[Path]) -> bool:
    return any(path.is_relative_to(root) for root in roots)
