import json
from pathlib import Path

from benchmarks.bench.report import section_of, write
from benchmarks.bench.rows import Row, Series

SLOW = Row("one row", 250.0, "us", "<=", 200.0, spread=(240.0, 260.0), cpu_s=1.5, note="a note")
FAST = Row("against a peer", 4.0, "x", ">=", 3.5, peer="a peer")
CURVE = Series("Time against rows", "rows", "us", ((1.0, 5.0), (100.0, 40.0)))


def test_the_form_of_the_contract_is_written_and_other_sections_stay(tmp_path: Path) -> None:
    path = tmp_path / "benchmarks"
    write(path, {"scoring": section_of([SLOW, CURVE], "make bench ONLY=scoring")})
    write(path, {"training": section_of([FAST], "make bench ONLY=training")})
    content = json.loads(path.with_suffix(".json").read_text())
    assert content["env"]["cores"] >= 1
    assert [row["name"] for row in content["rows"]] == ["one row", "against a peer"]
    assert {"name", "value", "unit", "op", "reach", "peer", "note"} <= content["rows"][0].keys()
    assert (path / "time-against-rows.svg").read_text().startswith("<?xml")


def test_the_page_says_what_was_reached_and_what_not(tmp_path: Path) -> None:
    write(tmp_path / "b", {"scoring": section_of([SLOW, FAST], "make bench")}, plots=False)
    page = (tmp_path / "b.md").read_text()
    assert "| one row | 250 us | 240 .. 260 | <= 200 | **not reached** | 1.5 | a note |" in page
    assert "| against a peer | 4 x |  | >= 3.5 | reached |" in page


def test_curves_of_one_plot_are_drawn_together_and_their_note_is_said_once(tmp_path: Path) -> None:
    curves = [
        Series(name, "fields", "s", ((8.0, 1.0), (16.0, 2.0)), "It bends.", "Both") for name in ("ours", "theirs")
    ]
    write(tmp_path / "b", {"tuning": section_of(curves, "make bench")})
    assert [file.name for file in (tmp_path / "b").iterdir()] == ["both.svg"]
    page = (tmp_path / "b.md").read_text()
    assert page.count("![Both](b/both.svg)") == page.count("It bends.") == 1
