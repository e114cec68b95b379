"""What the service reads of rows itself: names of rows and routing keys, the same from every form."""

from typing import Any

import pyarrow as pa
import pytest

from llactr_core.errors import RowError
from llactr_core.schema import Schema
from services.ctr.formats.decoding import Batch
from services.ctr.formats.rows import routing_key, row_ids

FIELDS = [{"name": "job"}, {"name": "age", "kind": "numeric"}]
SCHEMA = Schema.parse({"name": "s", "label": "click", "fields": FIELDS})
GROUPED = Schema.parse({"name": "s", "label": "click", "group": "user", "fields": FIELDS})


def forms(columns: dict[str, list[Any]]) -> list[Batch]:
    count = len(next(iter(columns.values())))
    rows = [{name: values[number] for name, values in columns.items()} for number in range(count)]
    return [Batch(rows, count), Batch(columns, count), Batch(pa.table(columns), count)]


def test_row_ids_are_texts_whatever_form_they_come_in() -> None:
    for batch in forms({"row_id": [7, None, 12], "job": ["a", "b", "c"]}):
        assert row_ids(batch, "row_id") == ["7", None, "12"]
        assert row_ids(batch, "job") == ["a", "b", "c"]
        assert row_ids(batch, "else") is None
    assert row_ids(Batch([], 0), "row_id") is None


@pytest.mark.parametrize("bad", [1.5, True, "", "x" * 201])
def test_other_row_ids_are_refused_with_their_place(bad: object) -> None:
    for batch in forms({"row_id": [bad]}):
        with pytest.raises(RowError, match="names the row") as caught:
            row_ids(batch, "row_id")
        assert (caught.value.row, caught.value.field) == (0, "row_id")


def test_the_routing_key_is_the_first_rows_group_or_else_its_first_field() -> None:
    for batch in forms({"user": [3.0, 4.0], "job": ["cook", "smith"]}):
        assert routing_key(batch, GROUPED) == "3"
        assert routing_key(batch, SCHEMA) == "cook"
    for batch in forms({"user": [None], "job": ["cook"]}):
        assert routing_key(batch, GROUPED) == "cook"
    for batch in [*forms({"age": [3]}), Batch([], 0), Batch({}, 0), Batch([{"job": ["a", "b"]}], 1)]:
        assert routing_key(batch, GROUPED) == ""
