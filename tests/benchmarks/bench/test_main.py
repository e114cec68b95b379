import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from benchmarks.bench import __main__ as bench
from benchmarks.bench.rows import Row

ROW = Row("one row", 250.0, "us", "<=", 200.0)


def test_what_other_parts_measured_stays_where_one_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> list[Row]:
        raise ValueError("a peer scores otherwise")

    monkeypatch.setattr(
        bench, "parts", lambda *_, **__: {"scoring": {"own": lambda: [ROW], "start": fails}, "bulk": {"auc": fails}}
    )
    monkeypatch.setattr("sys.argv", ["bench", "--smoke", str(tmp_path)])
    assert bench.main() == 1
    content = json.loads((tmp_path / "benchmarks.json").read_text())
    assert [row["name"] for row in content["sections"]["scoring"]["rows"]] == ["one row"]
    assert "bulk" not in content["sections"]


def test_a_part_is_measured_again_and_the_rest_of_its_section_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = iter([1.0, 2.0, 3.0])

    def measured(name: str) -> list[Row]:
        return [replace(ROW, name=name, value=next(values))]

    its = {"own": partial(measured, "one row"), "start": partial(measured, "ready")}
    monkeypatch.setattr(bench, "parts", lambda *_, **__: {"scoring": its})
    for only in ("scoring", "scoring.own"):
        monkeypatch.setattr("sys.argv", ["bench", "--smoke", str(tmp_path), "--only", only])
        assert bench.main() == 0
    rows = json.loads((tmp_path / "benchmarks.json").read_text())["rows"]
    assert [(row["name"], row["value"]) for row in rows] == [("one row", 3.0), ("ready", 2.0)]
    assert "measured again" in rows[0]["note"]


@pytest.mark.parametrize("unknown", ["nonsense", "scoring.nonsense"])
def test_an_unknown_section_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], unknown: str
) -> None:
    monkeypatch.setattr("sys.argv", ["bench", "--only", f"scoring,{unknown}"])
    with pytest.raises(SystemExit):
        bench.main()
    assert f"no section {unknown}; there are scoring, training, bulk, tuning" in capsys.readouterr().err
