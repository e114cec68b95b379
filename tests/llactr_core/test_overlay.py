import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from shop import shop_rows

from llactr_core.bundle import TABLE, WEIGHTS, Bundle
from llactr_core.data.values.json_rows import JsonReader
from llactr_core.errors import ArtifactError
from llactr_core.explainer import Explainer
from llactr_core.files import mapped_tensor
from llactr_core.overlay import Overlay, OverlayRow
from llactr_core.scorer import RowReport, Scorer

KNOWN = {"colour": "red", "tags": "new", "user": "1"}
LATER = {"colour": "mauve", "tags": "vegan", "user": "987654321"}  # what looks like the known ones


@pytest.fixture(scope="module")
def scorer(shop_bundle: Bundle) -> Scorer:
    return Scorer.load(shop_bundle.path)


@pytest.fixture(scope="module")
def overlay(shop_bundle: Bundle, scorer: Scorer) -> Overlay:
    table = mapped_tensor(shop_bundle.path / WEIGHTS, TABLE)
    rows = []
    for field, value in KNOWN.items():
        (at,) = scorer.encoder.ids_of(field, [value])
        assert at >= 0
        rows.append(OverlayRow(field, LATER[field], np.array(table[at])))
    return Overlay.of(scorer.version, rows)


@pytest.fixture(scope="module")
def extended(scorer: Scorer, overlay: Overlay) -> Scorer:
    return scorer.with_overlay(overlay)


KNOWN_ROWS = [{"user": 1, "colour": "red", "price": 3, "tags": ["new"]}, {"colour": "red"}, {"tags": ["new", "sale"]}]
LATER_ROWS = [
    {"user": 987654321, "colour": "mauve", "price": 3, "tags": ["vegan"]},
    {"colour": "mauve"},
    {"tags": ["vegan", "sale"]},
]


def test_in_every_form_a_later_value_scores_as_its_row_says(scorer: Scorer, extended: Scorer) -> None:
    expected = scorer.score(KNOWN_ROWS)
    assert not np.allclose(scorer.score(LATER_ROWS), expected, atol=1e-4)
    columns = {name: [row.get(name) for row in LATER_ROWS] for name in scorer.schema.columns}
    np.testing.assert_array_equal(extended.score(LATER_ROWS), expected)
    np.testing.assert_array_equal(extended.score(columns), expected)
    joined = {**columns, "tags": ["|".join(tags) if tags else None for tags in columns["tags"]]}
    np.testing.assert_array_equal(extended.score(pa.table(joined)), expected)
    reader = JsonReader(scorer.schema.columns)
    flat = [{**row, "tags": "|".join(row.get("tags", []))} for row in LATER_ROWS]
    found = reader.rows(json.dumps({"rows": flat}).encode(), 100)
    assert found is not None
    np.testing.assert_array_equal(extended.score(found.cells), expected)


def test_what_the_bundle_knows_scores_as_before_to_the_last_bit(scorer: Scorer, extended: Scorer) -> None:
    table = shop_rows(3000, 9)
    np.testing.assert_array_equal(extended.score(table), scorer.score(table))
    np.testing.assert_array_equal(extended.with_overlay(None).score(LATER_ROWS), scorer.score(LATER_ROWS))


def test_a_later_value_is_unseen_no_more(extended: Scorer) -> None:
    _, reports = extended.score_detailed([{**LATER_ROWS[0], "colour": "puce"}, LATER_ROWS[0]])
    assert reports == [RowReport((), ("colour",), ()), RowReport((), (), ())]


def test_explanations_add_up_with_it(scorer: Scorer, extended: Scorer) -> None:
    pairs = ((scorer, KNOWN_ROWS), (extended, LATER_ROWS))
    known, later = (Explainer.load(one).explain(one, rows) for one, rows in pairs)
    np.testing.assert_array_equal(later.raw_probabilities, known.raw_probabilities)
    np.testing.assert_array_equal(later.shares, known.shares)


def test_canonical_forms_find_it_and_numbers_have_none(scorer: Scorer, overlay: Overlay, extended: Scorer) -> None:
    (expected,) = scorer.score(KNOWN_ROWS[:1])
    for user in ("987654321", 987654321.0, 987654321):
        assert extended.score([{**LATER_ROWS[0], "user": user}])[0] == expected
    row = overlay.rows[0].row
    with pytest.raises(ArtifactError, match="no field with values"):
        scorer.with_overlay(Overlay.of(scorer.version, [OverlayRow("price", "3", row)]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"row": np.zeros(3, np.float32)}, "finite numbers"),
        ({"row": np.full(17, np.nan, np.float32)}, "finite numbers"),
        ({"field": "weather"}, "no field with values"),
        ({"scene": np.zeros(4, np.float32)}, "must have no scene numbers"),
    ],
    ids=["width", "nan", "field", "scene"],
)
def test_what_does_not_fit_is_refused(
    scorer: Scorer, overlay: Overlay, change: dict[str, object], message: str
) -> None:
    with pytest.raises(ArtifactError, match=message):
        scorer.with_overlay(overlay.extended([replace(overlay.rows[0], **change)]))  # type: ignore[arg-type]


def test_the_digest_is_that_of_the_whole_chain(scorer: Scorer, overlay: Overlay) -> None:
    rows = overlay.rows
    assert Overlay.of(scorer.version).digest == scorer.version
    assert Overlay.of(scorer.version, rows[:1]).extended(rows[1:]).digest == overlay.digest
    changed = [replace(rows[0], row=rows[0].row + 1), rows[0], replace(rows[0], value="x"), replace(rows[0], field="x")]
    digests = {Overlay.of(scorer.version, [one]).digest for one in changed}
    assert len(digests) == 4
    assert Overlay.of(scorer.version, rows[::-1]).digest != overlay.digest


def test_of_two_rows_for_a_value_the_first_counts(scorer: Scorer, overlay: Overlay, extended: Scorer) -> None:
    first = overlay.rows[0]
    twice = overlay.extended([replace(first, row=first.row + 1)])
    np.testing.assert_array_equal(scorer.with_overlay(twice).score(LATER_ROWS), extended.score(LATER_ROWS))


def test_a_hundred_thousand_rows_are_found(scorer: Scorer, overlay: Overlay) -> None:
    rows = [replace(overlay.rows[0], value=f"colour {n}", row=overlay.rows[0].row * (n % 7)) for n in range(100_000)]
    many = scorer.with_overlay(Overlay(tuple(rows), "any"))
    few = scorer.with_overlay(Overlay(tuple(rows[:7]), "any"))
    asked = [99_999, 12_345, 7, 0]
    found = many.score([{"colour": f"colour {n}"} for n in asked])
    np.testing.assert_array_equal(found, few.score([{"colour": f"colour {n % 7}"} for n in asked]))
    assert many.nbytes - scorer.nbytes < 100_000 * 200
