"""The simulated click log: equal for equal seeds, with scenes that matter, some of which train never has."""

from pathlib import Path

import numpy as np
import pytest
from pyarrow import parquet
from takeaway import LATE_WEATHER

from llactr_core.datasets.takeaway import SCENE_PARTS, simulate_takeaway
from llactr_core.errors import OptionError
from llactr_core.schema import Schema


def columns(folder: Path, part: str) -> dict[str, list[object]]:
    found: dict[str, list[object]] = parquet.read_table(folder / f"{part}.parquet").to_pydict()
    return found


def test_equal_seeds_give_equal_files_and_others_do_not(tmp_path: Path) -> None:
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        simulate_takeaway(tmp_path / name, 200, seed)
    a, b, c = (columns(tmp_path / name, "train") for name in "abc")
    assert a == b != c


def test_the_schema_marks_the_scene_and_late_values_are_unknown_to_train(tmp_path: Path) -> None:
    made = simulate_takeaway(tmp_path, 3000)
    assert made.rows == {"train": 2400, "valid": 300, "test": 300}
    schema = Schema.load(made.schema)
    assert tuple(field.name for field in schema.fields if field.scene) == SCENE_PARTS
    train, test = columns(tmp_path, "train"), columns(tmp_path, "test")
    assert set(schema.columns) <= set(train)
    assert not set(LATE_WEATHER) & set(train["weather"])
    assert set(LATE_WEATHER) <= set(test["weather"])


def test_clicks_follow_from_the_scene_unless_it_is_told_to_have_no_effect(tmp_path: Path) -> None:
    rates = {}
    for effect in (1.0, 0.0):
        simulate_takeaway(tmp_path, 40_000, scene_effect=effect)
        rows = columns(tmp_path, "train")
        weather, category, click = (np.array(rows[name]) for name in ("weather", "category", "click"))
        cooling = np.isin(category, ["ice cream", "iced fruit tea"])
        cold, hot = (cooling & (weather == one) for one in ("snow", "sunny and hot"))
        rates[effect] = click[cold].mean() / click[hot].mean()
    assert rates[1.0] < 0.4, rates
    assert rates[0.0] == pytest.approx(1, abs=0.25), rates


@pytest.mark.parametrize(("rows", "seed", "named"), [(9, 1, "rows"), (100, -1, "seed")])
def test_what_makes_no_sense_is_refused(tmp_path: Path, rows: int, seed: int, named: str) -> None:
    with pytest.raises(OptionError, match=named):
        simulate_takeaway(tmp_path, rows, seed)
    assert not list(tmp_path.iterdir())
