import pytest

from benchmarks.methods.measure import methods_for
from benchmarks.methods.page import extrapolated, written
from llactr_core.schema import Field, Schema

ONE = {"dataset": "ml1m", "rows": 20_000, "trials": 3, "wall_s": 9.0, "peak_mib": 900.0, "auc": 0.7, "logloss": 0.5}


@pytest.mark.parametrize(("method", "total", "model"), [
    ("plain", 100.0, 0.0), ("llactr", 150.0, 50.0), ("larr", 150.0, 50.0), ("ctrl", 600.0, 500.0),
])  # fmt: skip
def test_only_ctrls_language_model_reads_every_row(method: str, total: float, model: float) -> None:
    one = {**ONE, "method": method, "model_s": 50.0, "training_s": 10.0}
    assert extrapolated(one, 200_000) == (total, model)


def test_the_page_has_a_line_for_each_method_with_its_formula() -> None:
    lines = written([{**ONE, "method": "ctrl", "model_s": 360.0, "training_s": 36.0}], 200_000).splitlines()
    assert lines[-1] == (
        "| ml1m | CTRL | 360.0 | 36.0 | 9.0 | 900 | 0.7000 | 0.5000 | n / r * (model + training) | 1.10 | 1.00 |"
    )


def test_larr_takes_part_where_there_is_a_scene() -> None:
    plain = Schema(name="s", fields=(Field(name="a"), Field(name="b")))
    scene = Schema(name="s", fields=(Field(name="a"), Field(name="b", scene=True)))
    assert methods_for(plain) == ["plain", "llactr", "ctrl"]
    assert methods_for(scene) == ["plain", "llactr", "ctrl", "larr"]
