import json
from pathlib import Path

import pytest

from benchmarks.bench import __main__ as bench
from benchmarks.bench.rows import Row

ROW = Row("one row", 250.0, "us", "<=", 200.0)


def test_what_other_parts_measured_stays_where_one_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> list[Row]:
        raise ValueError("a peer scores otherwise")

    monkeypatch.setattr(bench, "parts", lambda *_, **__: {"scoring": [lambda: [ROW], fails], "bulk": [fails]})
    monkeypatch.setattr("sys.argv", ["bench", "--smoke", str(tmp_path)])
    assert bench.main() == 1
    content = json.loads((tmp_path / "benchmarks.json").read_text())
    assert [row["name"] for row in content["sections"]["scoring"]["rows"]] == ["one row"]
    assert "bulk" not in content["sections"]


def test_an_unknown_section_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["bench", "--only", "scoring,nonsense"])
    with pytest.raises(SystemExit):
        bench.main()
    assert "no section nonsense; there are scoring, training, bulk, tuning" in capsys.readouterr().err
