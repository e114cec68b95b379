"""The report for people: Markdown, and one HTML file with its plots in it."""

import html
import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
from matplotlib.figure import Figure

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
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 68rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; display: block; overflow-x: auto; }
th, td { padding: .3rem .7rem; text-align: right; border-bottom: 1px solid #8884; white-space: nowrap; }
th:nth-child(-n+2), td:nth-child(-n+2) { text-align: left; }
.verdict { font-size: 1.2rem; padding: 1rem; border-left: .3rem solid #2a78b8; background: #8881; }
svg { max-width: 100%; height: auto; }
@media (prefers-color-scheme: dark) { body { background: #16181b; color: #e4e4e4; } }
"""
Report = Mapping[str, Any]


def markdown(report: Report) -> str:
    """The report as Markdown."""
    lines = [
        f"# Do field semantics help on {report['dataset']}?",
        "",
        f"**{report['verdict']}**",
        "",
        *_about(report),
        "",
    ]
    lines += [_line(COLUMNS), _line(["---"] * len(COLUMNS))]
    lines += [_line(row) for row in _rows(report)]
    lines += ["", f"## {report['ships']} against plain, plain widened and each control", ""]
    lines += [_line(("against", "RelaImpr", "95 % interval", "difference of LogLoss", "95 % interval"))]
    lines += [_line(["---"] * 5), *[_line(row) for row in _against(report)]]
    lines += ["", "## Slices (AUC)", "", *[_line(row) for row in _slices(report)]]
    if report["left_out"]:
        lines += ["", "## Left out", "", *[f"- {text}" for text in report["left_out"]]]
    return "\n".join(lines) + "\n"


def page(report: Report) -> str:
    """The report as one HTML file that needs nothing else."""
    title = html.escape(f"Do field semantics help on {report['dataset']}?")
    parts = [
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>",
        "<meta name='viewport' content='width=device-width'>",
        f"<title>{title}</title><style>{STYLE}</style></head><body><h1>{title}</h1>",
        f"<p class='verdict'>{html.escape(report['verdict'])}</p>",
        *[f"<p>{html.escape(text.removeprefix('- '))}</p>" for text in _about(report)],
        "<h2>Every arm against plain</h2>",
        _forest(report),
        _table(COLUMNS, _rows(report)),
        f"<h2>{html.escape(report['ships'])} against plain, plain widened and each control</h2>",
        _table(("against", "RelaImpr", "95 % interval", "LogLoss", "95 % interval"), _against(report)),
        "<h2>Slices (AUC)</h2>",
        _table(_slices(report)[0], _slices(report)[2:]),
        *[f"<p>Left out: {html.escape(text)}</p>" for text in report["left_out"]],
        "</body></html>",
    ]
    return "\n".join(parts)


def _about(report: Report) -> list[str]:
    return [
        f"- Judged on {report['judged_on']}: {report['rows']:,} rows, {report['clicks']:,} of them clicks; "
        f"{report['seeds']} seeds; backbones: {', '.join(report['backbones'])}.",
        "- Every arm was searched with the same number of trials on validation. Intervals: hierarchical bootstrap over "
        "seeds, then users (rows where there are none), of the paired difference to plain.",
        f"- Data: {report['data']}.",
        f"- Made by `{report['command']}` in {report['seconds']:.0f} s.",
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
                f"{arm['relaimpr']:+.2%}",
                f"{low:+.2%} .. {high:+.2%}",
                "" if detectable is None else f"{detectable:.2%}",
                f"{arm['logloss']:.4f}",
                f"{arm['ece']:.4f}",
                f"{arm['parameters']:,}" if "parameters" in arm else "",
            ]
        )
    return rows


def _against(report: Report) -> list[list[str]]:
    rows = []
    for name, one in report["against"].items():
        gain, loss = one["relaimpr"], one["logloss"]
        rows.append(
            [
                name,
                f"{gain['value']:+.2%}",
                f"{gain['interval'][0]:+.2%} .. {gain['interval'][1]:+.2%}",
                f"{loss['value']:+.4f}",
                f"{loss['interval'][0]:+.4f} .. {loss['interval'][1]:+.4f}",
            ]
        )
    return rows


def _slices(report: Report) -> list[list[str]]:
    """Head, line and rows: a slice each, and the arms of the first backbone beside each other."""
    arms = [arm for arm in report["arms"] if arm["backbone"] == report["backbones"][0]]
    head = ["slice", "rows", *[arm["name"] for arm in arms]]
    rows = [head, ["---"] * len(head)]
    for name, about in arms[0]["slices"].items():
        values = [arm["slices"][name]["auc"] for arm in arms]
        rows.append([name, f"{about['rows']:,}", *["" if value is None else f"{value:.4f}" for value in values]])
    return rows


def _forest(report: Report) -> str:
    """RelaImpr of every arm with its interval, as SVG."""
    arms = [arm for arm in report["arms"] if arm["backbone"] and arm["name"] != "plain"]
    with matplotlib.rc_context({"svg.hashsalt": "llactr", "svg.fonttype": "none", "font.size": 9}):
        figure = Figure(figsize=(8, 0.8 + 0.28 * len(arms)), layout="constrained")
        axes = figure.subplots()
        for place, arm in enumerate(reversed(arms)):
            value, (low, high) = arm["relaimpr"], arm["interval"]
            axes.plot([100 * low, 100 * high], [place, place], color="#2a78b8", linewidth=2)
            axes.plot(100 * value, place, "o", color="#2a78b8", markersize=5)
        axes.axvline(0, color="#888888", linewidth=1)
        axes.set_yticks(range(len(arms)), [f"{arm['backbone']}, {arm['name']}" for arm in reversed(arms)])
        axes.set_xlabel("RelaImpr against the plain backbone, %, with 95 % interval")
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        for item in (axes.xaxis.label, *axes.get_xticklabels(), *axes.get_yticklabels()):
            item.set_color("#808080")  # readable on light and on dark
        drawn = io.StringIO()
        figure.savefig(drawn, format="svg", transparent=True, metadata={"Date": None})
    text = drawn.getvalue()
    return text[text.index("<svg") :]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def cells(tag: str, row: Sequence[str]) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in row) + "</tr>"

    return f"<table>{cells('th', head)}{''.join(cells('td', row) for row in rows)}</table>"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
