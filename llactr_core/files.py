"""Files that are either the old or the new content, never half of it."""

import hashlib
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np


def write_atomic(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Replace `path` by `content`: written beside it, flushed to the disk, renamed, and the rename flushed too.

    The file gets the permissions `mode`, less those that the process's umask takes away.
    """
    with replacing(path, mode) as beside:
        beside.write_bytes(content)


@contextmanager
def replacing(path: Path, mode: int = 0o600) -> Iterator[Path]:
    """A file to write; it takes the place of `path` when the block ends, as in `write_atomic`, and goes on an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    name = path.parent / f".{path.name}.{secrets.token_hex(6)}"
    os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode))
    try:
        yield name
        flush(name)
        name.replace(path)
    except BaseException:
        name.unlink(missing_ok=True)
        raise
    flush(path.parent)


def file_digest(path: Path) -> str:
    """SHA-256 of the bytes of a file, as hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def mapped_tensor(path: Path, name: str) -> "np.ndarray[Any, np.dtype[np.float32]]":
    """A float32 tensor of a safetensors file, memory-mapped: read-only, shared by all processes that map it.

    Raises:
        KeyError: the file has no such tensor.
        ValueError: the file is no safetensors file, or the tensor is no float32.
    """
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
    entry = header[name]
    if entry["dtype"] != "F32":
        raise ValueError(f"{name} in {path} is {entry['dtype']}, not F32")
    start = 8 + size + entry["data_offsets"][0]
    return np.asarray(np.memmap(path, np.float32, "r", start, tuple(entry["shape"])))


def flush(path: Path) -> None:
    """Wait until a file, or the names in a directory, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
