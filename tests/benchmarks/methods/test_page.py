import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks.methods import __main__ as methods
from benchmarks.methods.__main__ import DOCS, main
from benchmarks.methods.measure import methods_for
from benchmarks.methods.page import claim, extrapolated, written
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


def test_the_claim_is_answered_from_what_was_measured() -> None:
    fields = {**ONE, "method": "llactr", "model_s": 50.0, "training_s": 10.0}
    rows = {**ONE, "method": "ctrl", "model_s": 1000.0, "training_s": 10.0}
    told = claim([fields, rows, {**rows, "dataset": "alone"}], 200_000)
    assert "| ml1m | 1000.0 s : 50.0 s = 20 at 20,000 rows | 200 | 67 | 10,000 to 100,000 rows |" in told
    assert "alone" not in told
    assert "At the measured size: yes." in told
    assert "not on all of them" in claim([fields, {**rows, "model_s": 400.0}], 200_000)
    assert claim([rows], 200_000) == ""


def test_the_page_of_the_documentation_is_that_of_its_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(DOCS / "methods-measured.json", tmp_path)
    monkeypatch.setattr(sys, "argv", ["methods", "--page", "--out", str(tmp_path)])
    main()
    assert (tmp_path / "methods-measured.md").read_text() == (DOCS / "methods-measured.md").read_text()


def test_each_measurement_is_logged_as_a_reading_of_test_and_none_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged: list[str] = []

    def measure(command: Sequence[str], **_options: object) -> None:
        Path(command[-1]).write_text("{}", encoding="utf-8")

    monkeypatch.setattr(methods, "record_reading", lambda command, _project: logged.append(command))
    monkeypatch.setattr(subprocess, "run", measure)
    for _ in range(2):
        methods._measured("ml1m", tmp_path, "ctrl", 3)
    assert logged == ["make methods (ml1m: ctrl)"]
