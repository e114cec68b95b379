"""The report for people: Markdown, and one HTML file with its plots in it."""

import html
from collections.abc import Mapping, Sequence
from typing import Any

from llactr_core.proof.arms import PLAIN
from llactr_core.proof.reporting.guide import GUIDE
from llactr_core.proof.reporting.numbers import between, percent
from llactr_core.proof.reporting.plots import forest, learning_curve

COLUMNS = (
    "backbone",
    "arm",
    "AUC",
    "spread",
    "RelaImpr",
    "95 % interval",
    "detectable",
    "LogLoss",
    "ECE",
    "parameters",
)
AGAINST = ("against", "RelaImpr", "95 % interval", "LogLoss", "95 % interval", "AUC", "95 % interval")
NEAR_CHANCE = 0.55  # of plain's AUC: below, RelaImpr divides by next to nothing
CALIBRATION = ("backbone", "arm", "ECE", "perfect, 95 %", "predicted/true", "perfect, 95 %", "verdict")
PERFECT = (
    "Beside each arm stands what a perfectly calibrated model with its scores would show on as many rows: labels drawn "
    "from the scores give a smaller ECE and such a ratio in 95 of 100 cases."
)
NO_SLICES = "All rows are alike in this: there is no part that holds some of them and not all."
CURVE = ("of the users", "rows", "backbone", "plain", "ships", "RelaImpr", "95 % interval")
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 68rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; display: block; overflow-x: auto; }
th, td { padding: .3rem .7rem; text-align: right; border-bottom: 1px solid #8884; white-space: nowrap; }
th:nth-child(-n+2), td:nth-child(-n+2) { text-align: left; }
.verdict { font-size: 1.2rem; padding: 1rem; border-left: .3rem solid #2a78b8; background: #8881; }
dt { font-weight: bold; }
svg { max-width: 100%; height: auto; }
@media (prefers-color-scheme: dark) { body { background: #16181b; color: #e4e4e4; } }
"""
Report = Mapping[str, Any]


def markdown(report: Report) -> str:
    """The report as Markdown."""
    slices = _slices(report)
    lines = [f"# {_title(report)}", "", f"**{report['verdict']}**", "", *_about(report), ""]
    lines += markdown_table(COLUMNS, _rows(report))
    lines += ["", f"## {report['ships']} against plain, plain widened and each control", ""]
    lines += markdown_table(AGAINST, against_rows(report["against"]))
    lines += ["", "## Calibration", "", PERFECT, "", *markdown_table(CALIBRATION, _calibration(report))]
    table = markdown_table(slices[0], slices[1:]) if slices[1:] else [NO_SLICES]
    lines += ["", "## Slices (AUC)", "", report["sides"], "", *table]
    if report.get("curve"):
        lines += ["", "## Learning curve", "", *markdown_table(CURVE, curve_rows(report["curve"]))]
    if report["left_out"]:
        lines += ["", "## Left out", "", *[f"- {text}" for text in report["left_out"]]]
    lines += ["", "## How to read this", "", *[f"- *{term}.* {meaning}" for term, meaning in GUIDE]]
    return "\n".join(lines) + "\n"


def page(report: Report) -> str:
    """The report as one HTML file that needs nothing else."""
    slices, curve = _slices(report), report.get("curve")
    body = [
        f"<p class='verdict'>{html.escape(report['verdict'])}</p>",
        *[f"<p>{html.escape(text.removeprefix('- '))}</p>" for text in _about(report)],
        "<h2>Every arm against plain</h2>",
        forest(report["arms"], report["ships"]),
        html_table(COLUMNS, _rows(report)),
        f"<h2>{html.escape(report['ships'])} against plain, plain widened and each control</h2>",
        html_table(AGAINST, against_rows(report["against"])),
        f"<h2>Calibration</h2><p>{PERFECT}</p>",
        html_table(CALIBRATION, _calibration(report)),
        f"<h2>Slices (AUC)</h2><p>{html.escape(report['sides'])}</p>",
        html_table(slices[0], slices[1:]) if slices[1:] else f"<p>{NO_SLICES}</p>",
    ]
    if curve:
        body += ["<h2>Learning curve</h2>", learning_curve(curve), html_table(CURVE, curve_rows(curve))]
    body += [f"<p>Left out: {html.escape(text)}</p>" for text in report["left_out"]]
    terms = [f"<dt>{html.escape(term)}</dt><dd>{html.escape(meaning)}</dd>" for term, meaning in GUIDE]
    body += ["<h2>How to read this</h2>", f"<dl>{''.join(terms)}</dl>"]
    return shell(_title(report), body)


def shell(title: str, body: Sequence[str]) -> str:
    """A whole HTML file."""
    title = html.escape(title)
    head = [
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>",
        "<meta name='viewport' content='width=device-width'>",
        f"<title>{title}</title><style>{STYLE}</style></head><body><h1>{title}</h1>",
    ]
    return "\n".join([*head, *body, "</body></html>"])


def _title(report: Report) -> str:
    return f"Do field semantics help on {report['dataset']}?"


def _about(report: Report) -> list[str]:
    return [
        f"- Judged on {report['judged_on']}: {report['rows']:,} rows, {report['clicks']:,} of them clicks; "
        f"{report['seeds']} seed{'s'[: report['seeds'] != 1]}; backbones: {', '.join(report['backbones'])}.",
        "- Every arm was searched with the same number of trials on validation. Intervals: hierarchical bootstrap over "
        "seeds, then users (rows where there are none), of the paired difference to plain.",
        f"- Data: {report['data']}.",
        *([f"- {report['tuning']}."] if "tuning" in report else []),
        *_near_chance(report),
        f"- Made by `{report['command']}` in {report['seconds']:.0f} s.",
    ]


def _near_chance(report: Report) -> list[str]:
    lowest = min((arm["auc"] for arm in report["arms"] if arm["name"] == PLAIN), default=1.0)
    if lowest >= NEAR_CHANCE:
        return []
    return [
        f"- Plain's AUC is {lowest:.4f}. So near to 0.5, RelaImpr divides by next to nothing: read differences of AUC."
    ]


def _rows(report: Report) -> list[list[str]]:
    rows = []
    for arm in report["arms"]:
        low, high = arm["interval"]
        detectable = arm.get("detectable")
        rows.append(
            [
                arm["backbone"],
                arm["name"],
                f"{arm['auc']:.4f}",
                f"{arm.get('auc_spread', 0):.4f}",
                percent(arm["relaimpr"]),
                between(low, high),
                "" if detectable is None else percent(detectable).removeprefix("+"),
                f"{arm['logloss']:.4f}",
                f"{arm['ece']:.4f}",
                f"{arm['parameters']:,}" if "parameters" in arm else "",
            ]
        )
    return rows


def curve_rows(curve: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Cells of the points of a learning curve."""
    return [
        [
            f"{point['percent']} %",
            f"{point['rows']:,}",
            point["backbone"],
            f"{point['plain']:.4f}",
            f"{point['ships']:.4f}",
            percent(point["relaimpr"]),
            between(*point["interval"]),
        ]
        for point in curve
    ]


def against_rows(against: Mapping[str, Any]) -> list[list[str]]:
    """Cells of the comparisons of what ships with its rivals."""
    rows = []
    for name, one in against.items():
        gain, loss, auc = one["relaimpr"], one["logloss"], one["auc"]
        rows.append(
            [
                name,
                percent(gain["value"]),
                between(*gain["interval"]),
                *(text for part in (loss, auc) for text in _difference(part)),
            ]
        )
    return rows


def _difference(one: Mapping[str, Any]) -> tuple[str, str]:
    ends = [end for end in one["interval"] if end is not None]
    return f"{one['value']:+.4f}", " .. ".join(f"{end:+.4f}" for end in ends) if len(ends) == 2 else "not defined"


def _calibration(report: Report) -> list[list[str]]:
    """Cells: ECE and predicted/true of every arm beside those of a perfectly calibrated model."""
    rows = []
    for arm in report["arms"]:
        perfect = arm.get("perfect")
        if perfect is None:
            continue
        low, high = perfect["predicted_over_true"]
        rows.append(
            [
                arm["backbone"],
                arm["name"],
                f"{arm['ece']:.4f}",
                f"<= {perfect['ece']:.4f}",
                f"{arm['predicted_over_true']:.3f}",
                f"{low:.3f} .. {high:.3f}",
                "within" if perfect["within"] else "beyond",
            ]
        )
    return rows


def _slices(report: Report) -> list[list[str]]:
    """Head and rows: a slice each, and the arms of the first backbone beside each other."""
    arms = [arm for arm in report["arms"] if arm["backbone"] == report["backbones"][0]]
    rows = [["slice", "rows", *[arm["name"] for arm in arms]]]
    for name, about in arms[0]["slices"].items():
        values = [arm["slices"][name]["auc"] for arm in arms]
        rows.append([name, f"{about['rows']:,}", *["" if value is None else f"{value:.4f}" for value in values]])
    return rows


def html_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table as HTML."""

    def cells(tag: str, row: Sequence[str]) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in row) + "</tr>"

    return f"<table>{cells('th', head)}{''.join(cells('td', row) for row in rows)}</table>"


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table as lines of Markdown."""
    return ["| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *rows)]
