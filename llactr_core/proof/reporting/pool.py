"""What the reports of several datasets say together."""

import html
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from llactr_core.errors import DataError
from llactr_core.files import write_atomic
from llactr_core.proof.intervals import POWER_80, Comparison, Difference
from llactr_core.proof.reporting.numbers import as_json
from llactr_core.proof.reporting.page import AGAINST, against_rows, html_table, markdown_table, shell
from llactr_core.proof.reporting.report import Json, comparison_json, judge

RESAMPLES = 10_000
PARTS = ("auc", "logloss", "relaimpr")
HEAD = ("dataset", "ships", "against", "RelaImpr", "95 % interval")


def pool_reports(files: Sequence[Path], out: Path) -> Json:
    """Read reports of `llactr prove`, and write report.json, report.md and report.html of what they say together.

    Raises:
        DataError: a file is no such report, they are of one dataset, or were judged on other parts.
    """
    report = pooled([_read(file) for file in files])
    out.mkdir(parents=True, exist_ok=True)
    texts = {"report.json": as_json(report), "report.md": _markdown(report), "report.html": _page(report)}
    for name, text in texts.items():
        write_atomic(out / name, text.encode(), 0o644)
    return report


def pooled(reports: Sequence[Mapping[str, Any]], seed: int = 0) -> Json:
    """Differences of what ships to plain, plain widened and each control that all reports have: means over datasets.

    `interval` is about these datasets: each one's difference is drawn from a normal distribution with the spread of its
    own bootstrap (over seeds and users, the mean over backbones). `interval_of_like` is about datasets like these: the
    datasets are drawn with replacement first, which says little with few of them.

    Raises:
        DataError: fewer than two datasets, the same one twice, or judged on other parts.
    """
    names = [str(report["dataset"]) for report in reports]
    if len(set(names)) < max(2, len(names)):
        raise DataError(f"reports of {', '.join(names) or 'no dataset'}: give two or more, each of another dataset")
    parts = sorted({str(report["judged_on"]) for report in reports})
    if len(parts) > 1:
        raise DataError(f"some reports are judged on {parts[0]} and some on {parts[1]}; give reports of one kind")
    rivals = [name for name in reports[0]["against"] if all(name in report["against"] for report in reports)]
    random = np.random.default_rng(seed)
    drawn = {name: [_over(reports, name, part, random) for part in PARTS] for name in rivals}
    verdict = judge("what ships", {name: Comparison(*(one for one, _ in found)) for name, found in drawn.items()})
    against: dict[str, Json] = {}
    for name, found in drawn.items():
        against[name] = comparison_json(Comparison(*(one for one, _ in found)))
        for part, (_, like) in zip(PARTS, found, strict=True):
            against[name][part]["interval_of_like"] = like  # type: ignore[index]
    return {
        "dataset": ", ".join(names),
        "judged_on": parts[0],
        "arms": [{**arm, "dataset": report["dataset"]} for report in reports for arm in report["arms"]],
        "datasets": [
            {key: report[key] for key in ("dataset", "ships", "backbones", "seeds", "rows")} for report in reports
        ],
        "of_each": {str(report["dataset"]): {name: report["against"][name] for name in rivals} for report in reports},
        "against": against,
        "verdict": verdict.text,
        "verdict_code": verdict.code,
    }


def _over(
    reports: Sequence[Mapping[str, Any]], rival: str, part: str, random: np.random.Generator
) -> tuple[Difference, list[float]]:
    """The mean over datasets with its interval, and the interval for datasets like these."""
    found = [report["against"][rival][part] for report in reports]
    unknown = [
        str(r["dataset"]) for r, one in zip(reports, found, strict=True) if None in (one["value"], one["detectable"])
    ]
    if unknown:
        raise DataError(f"the reports of {', '.join(unknown)} have no {part} against {rival}, so they cannot be pooled")
    values = np.array([one["value"] for one in found])
    spreads = np.array([one["detectable"] for one in found]) / POWER_80
    noise = random.standard_normal((RESAMPLES, len(found))) * spreads
    here = (values + noise).mean(1)
    chosen = random.integers(0, len(found), (RESAMPLES, len(found)))
    like = (values[chosen] + np.take_along_axis(noise, chosen, 1)).mean(1)
    low, high = np.quantile(here, [0.025, 0.975])
    detectable = POWER_80 * float(here.std(ddof=1))
    return Difference(float(values.mean()), float(low), float(high), detectable), np.quantile(
        like, [0.025, 0.975]
    ).tolist()


def _read(file: Path) -> Mapping[str, Any]:
    try:
        report = json.loads(file.read_text(encoding="utf-8"))
        if not {"dataset", "ships", "against", "arms", "judged_on"} <= set(report):
            raise ValueError("it lacks what a report has")
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"{file} is no report of `llactr prove` ({error}); give the path of a report.json") from error
    return dict(report)


def _title(report: Mapping[str, Any]) -> str:
    return f"Do field semantics help on {report['dataset']}?"


def _each(report: Mapping[str, Any]) -> list[list[str]]:
    """Rows: what ships in each dataset against plain."""
    ships = {one["dataset"]: one["ships"] for one in report["datasets"]}
    return [
        [name, ships[name], rival, *against_rows({rival: one})[0][1:3]]
        for name, its in report["of_each"].items()
        for rival, one in its.items()
    ]


def _markdown(report: Mapping[str, Any]) -> str:
    lines = [
        f"# {_title(report)}",
        "",
        f"**{report['verdict']}**",
        "",
        "Means over the datasets, each of equal weight.",
    ]
    lines += ["", *markdown_table(AGAINST, against_rows(report["against"])), "", "## Each dataset", ""]
    return "\n".join([*lines, *markdown_table(HEAD, _each(report))]) + "\n"


def _page(report: Mapping[str, Any]) -> str:
    body = [
        f"<p class='verdict'>{html.escape(report['verdict'])}</p>",
        "<p>Means over the datasets, each of equal weight.</p>",
        html_table(AGAINST, against_rows(report["against"])),
        "<h2>Each dataset</h2>",
        html_table(HEAD, _each(report)),
    ]
    return shell(_title(report), body)
