"""What counts as a full disk, however a library tells it."""

import errno
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors import SafetensorError

from llactr_core.errors import BundleError, DataError, StorageFullError, UnavailableError
from services.shared.jobs.full_disk import RESERVE, give_reserve, storage_full, take_reserve


def _written_by_arrow(target: Path) -> None:
    pq.write_table(pa.table({"a": list(range(10_000))}), target)


def _written_by_python(target: Path) -> None:
    target.write_bytes(b"1")


@pytest.mark.parametrize("write", [_written_by_python, _written_by_arrow])
def test_what_the_kernel_refuses_is_understood(write: Callable[[Path], None], tmp_path: Path) -> None:
    target = tmp_path / "full"  # a link: Arrow deletes what it could not write
    target.symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left") as caught:
        write(target)
    found = storage_full(caught.value, tmp_path)
    assert isinstance(found, StorageFullError)
    assert str(tmp_path) in found.detail


def test_the_cause_of_an_error_counts_too_and_another_error_stays_what_it_is(tmp_path: Path) -> None:
    wrapped = BundleError("cannot be written")
    wrapped.__cause__ = OSError(errno.EDQUOT, "quota")
    assert storage_full(wrapped, tmp_path / "gone" / "deeper") is not None
    for other in (OSError(errno.EACCES, "no"), DataError("the column 'full' is full of NaN"), KeyError("x")):
        assert storage_full(other, tmp_path) is None
    assert storage_full(SafetensorError("Error while serializing: No space left on device (os error 28)"), tmp_path)
    known = StorageFullError("the disk of the store is full")
    assert storage_full(known, tmp_path) is known


def test_the_reserve_is_given_to_a_database_on_the_full_disk_and_to_no_other(tmp_path: Path) -> None:
    folder = tmp_path / "job"
    take_reserve(folder)
    take_reserve(folder)
    give_reserve(folder, UnavailableError("the database is away"))
    assert [path.name for path in folder.iterdir()] == [RESERVE]
    full = UnavailableError("the storage does not answer")
    full.__cause__ = sqlite3.OperationalError("database or disk is full")
    give_reserve(folder, full)
    give_reserve(folder, full)
    assert list(folder.iterdir()) == []
