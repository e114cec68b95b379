from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llactr_core.data.values.cells import Cells
from llactr_core.data.values.hashing import ODD
from llactr_core.data.values.index import ValueIndex
from llactr_core.data.vocabulary import FIRST_VALUE, MISSING, UNSEEN
from llactr_core.errors import BundleError

TEXTS = st.lists(st.text(min_size=1, max_size=40), unique=True, max_size=60)


def usable(texts: list[str]) -> list[str]:
    return [text for text in texts if text.encode("utf-8", "ignore").decode() == text]


@settings(deadline=None)
@given(known=st.lists(TEXTS, min_size=1, max_size=4), asked=st.lists(st.text(max_size=40), max_size=60))
def test_it_finds_what_a_dict_finds(known: list[list[str]], asked: list[str]) -> None:
    fields = [usable(texts) for texts in known]
    index = ValueIndex.build([pa.array(texts, pa.string()) for texts in fields])
    for number, texts in enumerate(fields):
        ids = {text: FIRST_VALUE + place for place, text in enumerate(texts)}
        questions = [*asked, *(text for others in fields for text in others), None]
        expected = [ids.get(text, UNSEEN) if text else MISSING for text in questions]
        assert index.field(number).ids_of(questions).tolist() == expected


def test_values_that_differ_in_one_byte_at_any_place_are_told_apart() -> None:
    lengths = [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 64, 200]
    known = ["a" * length for length in lengths]
    index = ValueIndex.build([pa.array(known)]).field(0)
    assert index.ids_of(known).tolist() == [FIRST_VALUE + place for place in range(len(known))]
    for length in lengths:
        others = ["a" * place + "b" + "a" * (length - place - 1) for place in range(length)]
        assert set(index.ids_of(others).tolist()) == {UNSEEN}


def test_a_million_values_are_found_after_a_restart(tmp_path: Path) -> None:
    values = pa.array(np.arange(1_000_000).astype(np.str_))
    index = ValueIndex.build([values])
    index.save(tmp_path / "index.npy")
    again = ValueIndex.load(index.values, index.first, tmp_path / "index.npy")
    assert not again.slots.flags.writeable
    cells = Cells.of_strings(values)
    np.testing.assert_array_equal(again.field(0).ids_of_cells(cells, 256)[0], np.arange(1_000_000) + FIRST_VALUE)
    unknown = Cells.of_strings(pa.array(np.arange(1_000_000, 1_100_000).astype(np.str_)))
    assert set(again.field(0).ids_of_cells(unknown, 256)[0].tolist()) == {UNSEEN}


def test_an_index_of_other_values_is_refused(tmp_path: Path) -> None:
    ValueIndex.build([pa.array(["a", "b"])]).save(tmp_path / "index.npy")
    with pytest.raises(BundleError, match="no index of the 3 values"):
        ValueIndex.load(pa.array(["a", "b", "c"], pa.large_string()), np.array([0, 3]), tmp_path / "index.npy")


def test_only_texts_that_may_have_another_canonical_form_are_odd() -> None:
    long = "x" * 300
    index = ValueIndex.build([pa.array([long, "y"])]).field(0)
    cells = Cells.of_texts([long, "y", "x" * 256, None, ""])
    ids, has_odd = index.ids_of_cells(cells, 256)
    assert (ids.tolist(), has_odd) == ([ODD, FIRST_VALUE + 1, UNSEEN, MISSING, MISSING], True)
    assert index.ids_of([long]).tolist() == [FIRST_VALUE]


def test_half_a_surrogate_pair_is_an_unseen_value() -> None:
    assert ValueIndex.build([pa.array(["?"])]).field(0).ids_of(["\ud800", "é\udfff"]).tolist() == [UNSEEN, UNSEEN]
