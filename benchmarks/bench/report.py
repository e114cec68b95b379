"""What was measured, as JSON, as a page and as plots. Sections that did not run keep what they had."""

import json
import os
import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import matplotlib
import psutil
import yaml

from benchmarks.bench.rows import Row, Series
from llactr_core.errors import DataError

matplotlib.use("svg")
from matplotlib import pyplot as plt

NOTES = Path(__file__).with_name("notes.yaml")
PACKAGES = ("torch", "onnxruntime", "numpy", "numba", "pyarrow", "fastapi", "uvicorn", "transformers")
WIDE = 20  # largest over smallest value, from which an axis is logarithmic

Section = dict[str, Any]


def environment() -> dict[str, Any]:
    """The machine and the versions."""
    cpu = re.search(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text())
    return {
        "cpu": cpu.group(1) if cpu else platform.processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "system": platform.platform(),
        "python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
    }


def section_of(found: Sequence[Row | Series], command: str) -> Section:
    """A section as it is kept."""
    when = datetime.now(UTC).isoformat(timespec="seconds")
    return {
        "measured": when,
        "command": command,
        "rows": [asdict(row) for row in found if isinstance(row, Row)],
        "series": [asdict(series) for series in found if isinstance(series, Series)],
    }


def with_rows(path: Path, name: str, made: Section) -> Section:
    """What PATH.json has of a section, with the rows and curves of some of its parts measured again.

    Raises:
        DataError: it does not have the section yet.
    """
    file = path.with_suffix(".json")
    kept = json.loads(file.read_text(encoding="utf-8"))["sections"] if file.exists() else {}
    if name not in kept:
        raise DataError(f"{file} has no section {name!r} that a part could be measured of; measure all of it first")
    merged = dict(kept[name])
    for row in made["rows"]:
        row["note"] = f"{row['note']}; measured again {made['measured']}".removeprefix("; ")
    for kind in ("rows", "series"):
        again = {one["name"]: one for one in made[kind]}
        merged[kind] = [again.pop(one["name"], one) for one in merged[kind]] + list(again.values())
    return merged


def write(path: Path, sections: Mapping[str, Section], *, plots: bool = True) -> None:
    """Write PATH.json, PATH.md and the plots in PATH/; what the JSON had of other sections stays."""
    file = path.with_suffix(".json")
    file.parent.mkdir(parents=True, exist_ok=True)
    kept: dict[str, Section] = json.loads(file.read_text(encoding="utf-8"))["sections"] if file.exists() else {}
    kept |= sections
    rows = [row for section in kept.values() for row in section["rows"]]
    content = {"env": environment(), "rows": rows, "sections": kept}
    file.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    path.with_suffix(".md").write_text(_page(path, content), encoding="utf-8")
    if plots:
        _plot(path, kept)


def _page(path: Path, content: Mapping[str, Any]) -> str:
    notes = yaml.safe_load(NOTES.read_text(encoding="utf-8")) or {}
    env = ", ".join(f"{name} {value}" for name, value in content["env"].items())
    lines = ["# Benchmarks", "", f"Written by `make bench`; no figure by hand. {env}.", ""]
    lines += ['A figure is the median of its repeats, with the smallest and the largest behind it. "x" is a ratio.', ""]
    for name, section in content["sections"].items():
        lines += [f"## {name.capitalize()}", "", f"`{section['command']}`, {section['measured']}", ""]
        if section["rows"]:
            lines += ["| | measured | spread | wanted | | CPU s | |", "| --- | --- | --- | --- | --- | --- | --- |"]
        for row in section["rows"]:
            lines.append(_line(row))
        lines += ["", *(f"- {row['name']}: {notes[row['name']]}" for row in section["rows"] if row["name"] in notes)]
        for name, curves in _by_plot(section).items():
            said = dict.fromkeys(curve["note"] for curve in curves if curve["note"])
            lines += ["", f"![{name}]({path.name}/{_file_of(name)})"]
            lines += ["", *said, *([notes[name]] if name in notes else [])]
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def _line(row: Mapping[str, Any]) -> str:
    known = Row(**{**row, "spread": tuple(row["spread"]) if row["spread"] else None})
    wanted = "" if known.reach is None else f"{known.op} {_number(known.reach)}"
    verdict = {None: "", True: "reached", False: "**not reached**"}[known.is_reached]
    spread = "" if known.spread is None else " .. ".join(_number(value) for value in known.spread)
    cpu = "" if known.cpu_s is None else _number(known.cpu_s)
    cells = (known.name, f"{_number(known.value)} {known.unit}", spread, wanted, verdict, cpu, known.note)
    return f"| {' | '.join(cells)} |"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _file_of(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") + ".svg"


def _by_plot(section: Section) -> dict[str, list[dict[str, Any]]]:
    """The curves of each plot, by the plot's name."""
    plots: dict[str, list[dict[str, Any]]] = {}
    for curve in section["series"]:
        plots.setdefault(curve.get("plot") or curve["name"], []).append(curve)
    return plots


def _scale(values: Sequence[float]) -> str:
    return "log" if min(values) > 0 and max(values) / min(values) > WIDE else "linear"


def _plot(path: Path, sections: Mapping[str, Section]) -> None:
    matplotlib.rcParams["svg.hashsalt"] = "llactr"
    path.mkdir(exist_ok=True)
    for section in sections.values():
        for name, curves in _by_plot(section).items():
            figure, axes = plt.subplots(figsize=(6, 3.5), layout="constrained")
            for curve in curves:
                axes.plot(*zip(*curve["points"], strict=True), marker="o", label=curve["name"])
            x, y = zip(*(point for curve in curves for point in curve["points"]), strict=True)
            axes.set(xscale=_scale(x), yscale=_scale(y))
            if len(curves) > 1:
                axes.legend(fontsize="small")
            axes.set(title=name, xlabel=curves[0]["x_label"], ylabel=curves[0]["y_label"])
            axes.grid(alpha=0.3)
            figure.savefig(path / _file_of(name), metadata={"Date": None})
            plt.close(figure)
