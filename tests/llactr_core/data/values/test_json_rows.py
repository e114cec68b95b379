import json
import random
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llactr_core.data.values.cells import Cells
from llactr_core.data.values.json_rows import JsonReader

COLUMNS = ("age", "job", "Größe", "a_long_name_of_a_column")
READER = JsonReader(COLUMNS)
SCALARS = st.none() | st.booleans() | st.text(max_size=20) | st.integers(-(10**20), 10**20) | st.floats()
ROWS = st.lists(
    st.dictionaries(st.sampled_from([*COLUMNS, "ag", "age2", "x"]) | st.text(max_size=5), SCALARS), max_size=5
)
TYPED = msgspec.json.Decoder(dict[str, list[dict[str, bool | int | float | str | None]]])


def values(cells: Cells) -> list[list[Any]]:
    return [[cells.value(row, column) for column in range(len(COLUMNS))] for row in range(len(cells))]


def expected(body: bytes) -> list[list[Any]]:
    return [[row.get(name) for name in COLUMNS] for row in TYPED.decode(body)["rows"]]


@settings(deadline=None, max_examples=300)
@given(rows=ROWS, ascii_only=st.booleans(), indent=st.sampled_from([None, 1, "\t"]))
def test_what_is_plain_has_the_values_that_a_json_library_finds(
    rows: list[dict[str, Any]], ascii_only: bool, indent: int | str | None
) -> None:
    try:
        body = json.dumps({"rows": rows}, ensure_ascii=ascii_only, indent=indent).encode()
    except UnicodeEncodeError:
        return
    found = READER.rows(body, 10)
    if found is not None:
        assert values(found.cells) == expected(body)


@pytest.mark.parametrize(
    "body",
    [
        b'{"rows": []}',
        b' {"rows" :[{}, { } ] }\n',
        b'{"rows":[{"age":0,"job":"","Gr\xc3\xb6\xc3\x9fe":-1.50,"a_long_name_of_a_column":true}]}',
        b'{"rows":[{"job":"a","other":null,"age":123456789012345678,"job":"b"}]}',
        b'{"rows":[{"a_long_name_of_a_column":"x","age":false},{"age":"y","a_long_name_of_a_column":0.1}]}',
    ],
)
def test_plain_rows_become_cells(body: bytes) -> None:
    found = READER.rows(body, 10)
    assert found is not None
    assert values(found.cells) == expected(body)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"rows": [{}]',
        b'{"rows": [{}]}}',
        b'{"rows": [{},]}',
        b'{"rows": [{}{}]}',
        b'{"rows": [3]}',
        b'{"rows": [{"age"}]}',
        b'{"rows": [{"age" 1}]}',
        b'{"rows": [{"age":1,}]}',
        b'{"rows": [{"age":01}]}',
        b'{"rows": [{"age":-}]}',
        b'{"rows": [{"age":-0}]}',
        b'{"rows": [{"age":1.}]}',
        b'{"rows": [{"age":.5}]}',
        b'{"rows": [{"age":1e3}]}',
        b'{"rows": [{"age":1E3}]}',
        b'{"rows": [{"age":1234567890123456789}]}',
        b'{"rows": [{"age":tru}]}',
        b'{"rows": [{"age":nul}]}',
        b'{"rows": [{"age":NaN}]}',
        b'{"rows": [{"age":[1]}]}',
        b'{"rows": [{"age":{}}]}',
        b'{"rows": [{"age":"a\\n"}]}',
        b'{"rows": [{"age":"a\nb"}]}',
        b'{"rows": [{"\\u0061ge":1}]}',
        b'{"rows": [{"age":"\xff"}]}',
        b'{"rows": [{"age":"open}]}',
        b'{"rows": [{"age":"open long enough for words}]}',
        b'{"rows": [], "routing_key": "a"}',
        b'{"columns": {"age": [1]}}',
        b"\xef\xbb\xbf" + b'{"rows": []}',
    ],
)
def test_the_rest_is_left_to_a_json_library(body: bytes) -> None:
    assert READER.rows(body, 10) is None


def test_every_cut_and_every_changed_byte_of_a_body_is_read_as_a_json_library_reads_it() -> None:
    body = json.dumps({"rows": [{"age": 41, "job": "clerk", "x": 1.5}, {"job": None, "age": True}]}).encode()
    chance = random.Random(2026)
    broken = [body[:place] for place in range(len(body))]
    for place in range(len(body)):
        broken += [body[:place] + bytes([chance.randrange(256)]) + body[place + 1 :] for _ in range(20)]
    for one in broken:
        found = READER.rows(one, 10)
        if found is not None:
            assert values(found.cells) == expected(one), one


def test_more_rows_than_allowed_are_not_plain() -> None:
    body = json.dumps({"rows": [{"age": 1}] * 5}).encode()
    assert READER.rows(body, 4) is None
    found = READER.rows(body, 5)
    assert found is not None
    assert len(found.cells) == 5


def test_lines_are_rows() -> None:
    found = READER.lines(b'{"age":1}\n\r\n  {"job": "x"} \n{}', 10)
    assert found is not None
    assert [row[:2] for row in values(found.cells)] == [[1, None], [None, "x"], [None, None]]
    empty = READER.lines(b"", 10)
    assert empty is not None
    assert len(empty.cells) == 0
    for body in (b'{"age":1} {"age":2}', b'{"age":\n1}', b'{"age":1}\n[]', b'{"age":1}x'):
        assert READER.lines(body, 10) is None, body


@pytest.mark.parametrize(
    ("body", "has_others"),
    [
        (b'{"rows": [{"age": 1, "job": "other"}, {}]}', False),
        (b'{"rows": [{"age": 1}, {"other": null, "job": "x"}]}', True),
    ],
)
def test_rows_tell_whether_one_has_another_column(body: bytes, has_others: bool) -> None:
    assert [found.has_others for found in [READER.rows(body, 10)] if found] == [has_others]
    lines = b"\n".join(json.dumps(row).encode() for row in json.loads(body)["rows"])
    assert [found.has_others for found in [READER.lines(lines, 10)] if found] == [has_others]


def test_a_name_that_json_spells_otherwise_is_left_to_a_json_library() -> None:
    assert JsonReader(['say "hi"']).rows(b'{"rows": [{"say \\"hi\\"": 1}]}', 10) is None
    assert JsonReader(['a"b']).rows(b'{"rows": [{"a"b": 1}]}', 10) is None
