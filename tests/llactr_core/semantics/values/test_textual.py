"""Which fields a language model can read."""

import pyarrow as pa
import pytest

from llactr_core.data.encoding import Encoder
from llactr_core.schema import Field, Kind, Schema
from llactr_core.semantics.values.textual import is_worded, textual_values


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["Toy Story (1995)", "Heat (1995)"], True),
        (["self-employed", "Private", "?"], True),
        (["電影", "Ελλάδα"], True),
        (["25-34", "35-44", "Under 18"], False),
        (["B00005N7P0", "A2XXXX", "deadbeef01"], False),
        (["F", "M"], False),
        (["12", "13"], False),
        ([], False),
    ],
)
def test_words_are_text_and_ids_are_not(values: list[str], expected: bool) -> None:
    assert is_worded(values) is expected


def test_the_schema_has_the_last_word_and_numbers_have_no_texts() -> None:
    fields = (
        Field(name="genres", kind=Kind.MULTI_VALUED),
        Field(name="sex", textual=True),
        Field(name="brand", textual=False),
        Field(name="code"),
        Field(name="price", kind=Kind.NUMERIC, textual=True),
    )
    rows = pa.table({"genres": ["war|love", "love"], "sex": ["F", "M"], "brand": ["Acme"] * 2, "code": ["a1"] * 2})
    rows = rows.append_column("price", pa.array([1.0, 2.0]))
    found = textual_values(Encoder.fit(Schema(name="s", fields=fields), rows.to_batches()))
    assert {name: sorted(values) for name, values in found.items()} == {"genres": ["love", "war"], "sex": ["F", "M"]}


def test_a_schema_without_the_setting_keeps_its_fingerprint() -> None:
    plain = Schema(name="s", fields=(Field(name="a"),))
    assert plain.fingerprint == "747d7012e8689f6eff80ef8720dbd8639c83508e1175b253293c5a740a2d861f"
    assert Schema(name="s", fields=(Field(name="a", textual=True),)).fingerprint != plain.fingerprint
