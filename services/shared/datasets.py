"""Which files a caller may name: only those under the folders that the operator allowed."""

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from llactr_core.errors import NotFoundError, OptionError, PermissionDenied


def resolve_dataset(uri: str, roots: Sequence[Path]) -> Path:
    """The path behind a dataset URI (a local path, or file://...), every symbolic link followed.

    A relative path is looked for in the process's own folder and then in each root.

    Raises:
        OptionError: the URI has another scheme, or is no path.
        PermissionDenied: the path, or a file of the folder, lies outside every root.
        NotFoundError: there is no such file or folder under a root.
    """
    given = _local_path(uri)
    allowed = [root.resolve() for root in roots]
    named = ", ".join(str(root) for root in allowed) or "none"
    candidates = [given.resolve()] if given.is_absolute() else [(base / given).resolve() for base in (Path(), *allowed)]
    inside = [path for path in candidates if _is_inside(path, allowed)]
    if not inside:
        raise PermissionDenied(f"the dataset {uri!r} lies outside the allowed folders ({named}); move it into one")
    found = next((path for path in inside if _exists(path)), None)
    if found is None:
        raise NotFoundError(f"there is no dataset {uri!r}; it was looked for in the allowed folders ({named})")
    if found.is_dir():
        for entry in found.iterdir():
            if not _is_inside(entry.resolve(), allowed):
                raise PermissionDenied(
                    f"{entry.name!r} in the dataset {uri!r} leads outside the allowed folders ({named})"
                )
    return found


def _local_path(uri: str) -> Path:
    if not uri or "\x00" in uri:
        raise OptionError("the dataset is empty or holds a NUL; give a local path or a file:// URI", field="dataset")
    if "://" not in uri:
        return Path(uri)
    try:
        parts = urlsplit(uri)
    except ValueError as error:
        raise OptionError(
            f"the dataset {uri!r} is no URI ({error}); give a local path or file://", field="dataset"
        ) from None
    if parts.scheme != "file" or parts.netloc not in ("", "localhost"):
        raise OptionError(f"the dataset {uri!r} is not local; give a local path or a file:// URI", field="dataset")
    return Path(unquote(parts.path))


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name that is too long for any file
        return False


def _is_inside(path: Path, roots: Sequence[Path]) -> bool:
    return any(path.is_relative_to(root) for root in roots)
