"""CSV, JSONL and Parquet: what is read, and how each kind of bad file is refused."""

import gzip
import hashlib
import json
import math
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from llactr_core.data.canonical import canonical_array
from llactr_core.data.formats import source as source_module
from llactr_core.data.read import BATCH_ROWS, open_source
from llactr_core.errors import DataError


def written(folder: Path, name: str, content: bytes | str) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def rows(path: Path, columns: list[str] | None = None) -> list[dict[str, object]]:
    return [row for batch in open_source(path).batches(columns) for row in batch.to_pylist()]


def refusal(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        rows(path)
    return str(caught.value)


def test_csv_is_text_and_empty_cells_are_null(tmp_path: Path) -> None:
    path = written(tmp_path, "a.csv", 'a,b,c\n007,"x\ny, ""z""",\n1e3,,""\n')
    assert rows(path) == [{"a": "007", "b": 'x\ny, "z"', "c": None}, {"a": "1e3", "b": None, "c": None}]
    assert rows(path, ["c", "a"])[0] == {"c": None, "a": "007"}
    assert list(rows(path, ["c", "a"])[0]) == ["c", "a"]


def test_csv_byte_order_mark(tmp_path: Path) -> None:
    path = written(tmp_path, "a.csv", b"\xef\xbb\xbfa,b\n1,2\n")
    assert open_source(path).columns == ("a", "b")
    assert rows(path, ["a"]) == [{"a": "1"}]


def test_a_source_can_be_read_again_and_left_early(tmp_path: Path) -> None:
    source = open_source(written(tmp_path, "a.csv", "a\n" + "1\n" * (BATCH_ROWS + 5)))
    next(source.batches())
    assert [batch.num_rows for batch in source.batches()] == [BATCH_ROWS, 5]
    assert [batch.num_rows for batch in source.batches()] == [BATCH_ROWS, 5]
    assert source.digest() == hashlib.sha256(source.path.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "the file is empty"),
        (b"\n\n", "the file is empty"),
        (b"a,b\n", "no row"),
        (b"a,b,a\n1,2,3\n", "more than once: a"),
        (b"a,,b\n1,2,3\n", "column 2 has no name"),
        (b"a;b\n1;2\n", "separate columns by commas"),
        (b"a,b\n1,2\n1\n", "Row #3: Expected 2 columns, got 1"),
        ("a,b\n1,2\nä,2\n".encode("latin-1"), "line 3 is not valid UTF-8"),
        (b"a,b\n" + b"1,2\n" * 30_000 + b"\xe4,2\n", "line 30002 is not valid UTF-8"),
        ("ä,b\n1,2\n".encode("latin-1"), "line 1 is not valid UTF-8"),
    ],
)
def test_bad_csv(tmp_path: Path, content: bytes, said: str) -> None:
    assert said in refusal(written(tmp_path, "bad.csv", content))


def test_jsonl_types(tmp_path: Path) -> None:
    lines = [
        {"i": 1, "f": 1, "s": "x", "b": True, "l": ["a", 2], "n": None},
        {"i": 2, "f": 0.5, "b": None, "l": None, "late": "z"},
    ]
    path = written(tmp_path, "a.jsonl", "\n\n".join(map(json.dumps, lines)))
    source = open_source(path)
    assert source.columns == ("i", "f", "s", "b", "l", "n", "late")
    batch = next(source.batches())
    assert [str(kind) for kind in batch.schema.types] == [
        "int64", "double", "string", "bool", "list<item: string>", "string", "string",
    ]  # fmt: skip
    assert batch.to_pylist()[0] == {"i": 1, "f": 1.0, "s": "x", "b": True, "l": ["a", "2"], "n": None, "late": None}
    assert [b.schema.names for b in source.batches(["late", "i"])] == [["late", "i"]]


def test_jsonl_mixed_types_become_canonical_text(tmp_path: Path) -> None:
    path = written(tmp_path, "a.ndjson", '{"a": 3}\n{"a": "3"}\n{"a": 3.0}\n{"a": true}\n{"a": NaN}\n{"a": 1e400}\n')
    assert [row["a"] for row in rows(path)] == ["3", "3", "3", "true", None, None]


def test_jsonl_nan_and_infinity_are_missing(tmp_path: Path) -> None:
    path = written(tmp_path, "a.jsonl", '{"a": NaN}\n{"a": -Infinity}\n{"a": 2.5}\n')
    batch = next(open_source(path).batches())
    assert math.isnan(batch.column(0)[0].as_py())
    assert canonical_array(batch.column(0)).to_pylist() == [None, None, "2.5"]


def test_jsonl_large_whole_numbers_stay_exact(tmp_path: Path) -> None:
    lines = [{"a": 2**62 + 1, "b": 2**70, "c": 2**62 + 1}, {"a": 1, "b": 1, "c": 0.5}]
    path = written(tmp_path, "a.jsonl", "\n".join(map(json.dumps, lines)))
    assert rows(path)[0] == {"a": 2**62 + 1, "b": str(2**70), "c": str(2**62 + 1)}


def test_jsonl_gz(tmp_path: Path) -> None:
    path = written(tmp_path, "a.jsonl.gz", gzip.compress(b'{"a": 1}\n'))
    assert rows(path) == [{"a": 1}]
    cut = written(tmp_path, "cut.jsonl.gz", gzip.compress(b'{"a": 1}\n' * 1000)[:-12])
    assert "cannot be read to its end" in refusal(cut)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "the file is empty"),
        (b'{"a": 1}\n{"a": \n', "row 2 is not valid JSON"),
        (b"[1]\n", "row 1 is no JSON object"),
        (b'{"a": 1}\n\n{"a": {"b": 2}}\n', "row 2, field 'a': the value is an object"),
        (b'{"a": [[1]]}\n', "row 1, field 'a': the value is a nested list"),
        (b'{"a": 1}\n{"a": "\xe4"}\n', "line 2 is not valid UTF-8"),
    ],
)
def test_bad_jsonl(tmp_path: Path, content: bytes, said: str) -> None:
    assert said in refusal(written(tmp_path, "bad.jsonl", content))


def test_nested_jsonl_names_row_and_field(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        open_source(written(tmp_path, "a.jsonl", '{"a": 1}\n{"a": {}}\n'))
    assert (caught.value.row, caught.value.field) == (2, "a")


def test_parquet(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    parquet.write_table(pa.table({"a": [1, 2], "l": [["x"], None], "a.b": [3, 4]}), path)
    assert rows(path) == [{"a": 1, "l": ["x"], "a.b": 3}, {"a": 2, "l": None, "a.b": 4}]
    assert rows(path, ["a"]) == [{"a": 1}, {"a": 2}]
    assert list(rows(path, ["a.b", "a"])[0]) == ["a.b", "a"]


@pytest.mark.parametrize("kept", [0, 4, 50, -8])
def test_truncated_parquet(tmp_path: Path, kept: int) -> None:
    parquet.write_table(pa.table({"a": range(1000)}), tmp_path / "whole.parquet")
    content = (tmp_path / "whole.parquet").read_bytes()
    said = refusal(written(tmp_path, "cut.parquet", content[:kept]))
    assert "the file is empty" in said if kept == 0 else "perhaps cut off" in said


def test_damaged_parquet_page(tmp_path: Path) -> None:
    parquet.write_table(pa.table({"a": range(1000)}), tmp_path / "a.parquet")
    content = bytearray((tmp_path / "a.parquet").read_bytes())
    content[4:40] = b"\xff" * 36
    assert "not a readable Parquet file" in refusal(written(tmp_path, "bad.parquet", bytes(content)))


def test_parquet_without_rows_or_with_unusable_columns(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    parquet.write_table(pa.table({"a": pa.array([], pa.int64())}), path)
    assert "1 columns, 0 rows" in refusal(path)
    parquet.write_table(pa.table({"a": [{"x": 1}]}), path)
    assert "column 'a' is nested" in refusal(path)
    parquet.write_table(pa.Table.from_arrays([pa.array([1]), pa.array([2])], ["a", "a"]), path)
    assert "more than once: a" in refusal(path)


def test_missing_files_unknown_formats_and_columns(tmp_path: Path) -> None:
    assert "no such file" in refusal(tmp_path / "a.csv")
    (tmp_path / "folder.csv").mkdir()
    assert "a folder, not a file" in refusal(tmp_path / "folder.csv")
    assert "allowed: .parquet, .csv" in refusal(written(tmp_path, "a.tsv", "a\tb\n"))
    source = open_source(written(tmp_path, "a.csv", "Click,b\n1,2\n"))
    with pytest.raises(DataError, match="Did you mean 'Click'"):
        source.batches(["click"])


def test_very_long_values(tmp_path: Path) -> None:
    path = written(tmp_path, "a.csv", "a,b\n" + "".join(f"{'x' * 10_000}{i},1\n" for i in range(50)))
    values = canonical_array(next(open_source(path).batches(["a"])).column(0))
    assert len(values.dictionary) == 50
    assert {len(text) for text in values.dictionary.to_pylist()} == {233}


def test_batches_are_bounded_in_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_module, "BATCH_BYTES", 100_000)
    parquet.write_table(pa.table({"a": [str(i) * 1000 for i in range(20_000)]}), tmp_path / "a.parquet")
    sizes = [batch.num_rows for batch in open_source(tmp_path / "a.parquet").batches()]
    assert max(sizes) <= 8_192
    assert sum(sizes) == 20_000
