"""Datasets under a URL: read as local ones are, in bounded memory, and no damage where the store is away."""

import gzip
import json
import tracemalloc
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from object_store import ObjectStore
from shop import write_shop

from llactr_core.data.formats import csv_file
from llactr_core.data.read import open_source
from llactr_core.data.splits import open_dataset
from llactr_core.errors import DataError, OptionError, UnavailableError
from llactr_core.remote import RemotePath

MEMORY = fsspec.filesystem("memory")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One table of 20,000 rows as each format."""
    folder = tmp_path_factory.mktemp("files")
    rows = [{"click": i % 2, "name": f'größe "{i}",\n' if i % 7 else None} for i in range(20_000)]
    table = pa.Table.from_pylist(rows)
    pq.write_table(table, folder / "a.parquet", row_group_size=3_000)
    pa.csv.write_csv(table, folder / "a.csv")
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (folder / "a.jsonl").write_text(lines, encoding="utf-8")
    (folder / "a.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    return folder


@pytest.mark.parametrize("name", ["a.parquet", "a.csv", "a.jsonl", "a.jsonl.gz"])
def test_every_format_reads_the_same_from_a_store(files: Path, name: str, object_store: ObjectStore) -> None:
    url = object_store.put(f"formats/{name}", (files / name).read_bytes())
    local, remote = open_source(files / name), open_source(url)
    assert remote.columns == local.columns
    assert pa.Table.from_batches(remote.batches()) == pa.Table.from_batches(local.batches())
    assert pa.Table.from_batches(remote.batches(["name"])) == pa.Table.from_batches(local.batches(["name"]))
    assert remote.digest() == local.digest()


def test_a_folder_and_one_split_file_are_datasets(tmp_path: Path, object_store: ObjectStore) -> None:
    folder = write_shop(tmp_path)
    for file in folder.iterdir():
        object_store.put(f"shop/{file.name}", file.read_bytes())
    local, remote = open_dataset(folder, "click"), open_dataset(f"{object_store.url}/shop", "click")
    assert remote.how == local.how.replace(folder.name, "shop")
    for part in ("train", "valid", "test"):
        ours, theirs = getattr(remote, part), getattr(local, part)
        assert pa.Table.from_batches(ours.batches()) == pa.Table.from_batches(theirs.batches())
    one = next(file for file in folder.iterdir() if file.name.startswith("train"))
    split = open_dataset(f"{object_store.url}/shop/{one.name}", "click")
    expected = open_dataset(one, "click")
    assert split.test.digest() == expected.test.digest()
    assert pa.Table.from_batches(split.test.batches()) == pa.Table.from_batches(expected.test.batches())


def test_a_large_file_is_never_held_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_file, "BLOCK_BYTES", 2**18)
    MEMORY.pipe_file("/big/a.csv", b"a,b\n" + b"some text,more text\n" * 3_000_000)  # 60 MB
    MEMORY.cat_file("/big/a.csv", start=0, end=1)  # its first read copies the content
    tracemalloc.start()
    before = pa.default_memory_pool().bytes_allocated()
    most, rows = 0, 0
    for batch in open_source("memory://big/a.csv").batches(["a"]):
        most = max(most, pa.default_memory_pool().bytes_allocated() - before)
        rows += batch.num_rows
    python = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    MEMORY.rm("/big", recursive=True)
    assert rows == 3_000_000
    assert python < 20e6
    assert most < 20e6


def test_what_is_wrong_with_a_file_is_said_with_its_url() -> None:
    MEMORY.pipe_file("/wrong/a.csv", b"a\n\xff\xfe\n")
    MEMORY.pipe_file("/wrong/a.parquet", b"PAR1 and nothing more")
    MEMORY.pipe_file("/wrong/b.parquet", b"")
    with pytest.raises(DataError, match=r"memory://wrong/a\.csv: line 2 is not valid UTF-8"):
        list(open_source("memory://wrong/a.csv").batches())
    with pytest.raises(DataError, match=r"memory://wrong/a\.parquet: not a readable Parquet file"):
        open_source("memory://wrong/a.parquet")
    with pytest.raises(DataError, match=r"memory://wrong/b\.parquet: the file is empty"):
        open_source("memory://wrong/b.parquet")
    for absent in ("memory://wrong/c.csv", "memory://nowhere"):
        with pytest.raises(DataError, match="no such file"):
            open_dataset(absent)
    with pytest.raises(DataError, match="no file for train"):
        open_dataset("memory://wrong")
    with pytest.raises(OptionError, match="not known"):
        open_source("nothing://a/b.csv")


def test_a_file_that_shrinks_while_it_is_read_is_noticed() -> None:
    MEMORY.pipe_file("/shrinking/a.csv", b"a\n1\n" * 100)
    with RemotePath.at("memory://shrinking/a.csv").open() as stream:
        MEMORY.pipe_file("/shrinking/a.csv", b"x")
        with pytest.raises(UnavailableError, match="has changed"):
            stream.read()


def test_a_store_that_goes_away_is_unavailable_and_no_damaged_file(
    object_store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_file, "BLOCK_BYTES", 2**16)
    numbers = np.random.default_rng(0).integers(0, 2**62, 800_000)
    pq.write_table(pa.table({"a": numbers, "b": numbers}), tmp_path / "a.parquet", row_group_size=100_000)
    contents = {
        "a.csv": b"a\n" + b"text\n" * 4_000_000,
        "a.jsonl": b'{"a": "text"}\n' * 700_000,
        "a.parquet": (tmp_path / "a.parquet").read_bytes(),
    }
    sources = [open_source(object_store.put(f"away/{name}", content)) for name, content in contents.items()]
    streams = [source.batches(["a"]) for source in sources]
    assert all(next(stream).num_rows > 0 for stream in streams)
    object_store.kill()
    try:
        for stream, name in zip(streams, contents, strict=True):
            with pytest.raises(UnavailableError, match=rf"{name}: the store does not answer"):
                list(stream)
    finally:
        object_store.start()


def test_streams_seek_as_local_files_do(files: Path) -> None:
    content = (files / "a.csv").read_bytes()
    MEMORY.pipe_file("/seek/a.csv", content)
    with RemotePath.at("memory://seek/a.csv").open() as stream:
        assert stream.seek(-5, 2) == len(content) - 5
        assert stream.read() == content[-5:]
        stream.seek(10)
        stream.seek(7, 1)
        assert stream.read(20) == content[17:37]
        assert stream.read(0) == b""
        assert stream.tell() == 37
