"""The plots of a report, as SVG that needs nothing else."""

import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

SHIPPED, PLAIN, QUIET = "#2a78b8", "#b8772a", "#808080"  # QUIET is readable on light and on dark
Points = Sequence[Mapping[str, Any]]


def forest(arms: Points) -> str:
    """RelaImpr of every arm with its interval."""
    shown = [arm for arm in reversed(arms) if arm["backbone"] and arm["name"] != "plain"]

    def draw(axes: Axes) -> None:
        for place, arm in enumerate(shown):
            value, (low, high) = arm["relaimpr"], arm["interval"]
            axes.plot([100 * low, 100 * high], [place, place], color=SHIPPED, linewidth=2)
            axes.plot(100 * value, place, "o", color=SHIPPED, markersize=5)
        axes.axvline(0, color="#888888", linewidth=1)
        axes.set_yticks(range(len(shown)), [f"{arm['backbone']}, {arm['name']}" for arm in shown])
        axes.set_xlabel("RelaImpr against the plain backbone, %, with 95 % interval")

    return _svg(0.8 + 0.28 * len(shown), draw)


def learning_curve(points: Points) -> str:
    """AUC over the share of the users, plain and shipped: a line for each backbone."""

    def draw(axes: Axes) -> None:
        for backbone in dict.fromkeys(point["backbone"] for point in points):
            its = [point for point in points if point["backbone"] == backbone]
            shares = [point["percent"] for point in its]
            axes.plot(shares, [point["plain"] for point in its], "o--", color=PLAIN, label=f"{backbone}, plain")
            axes.plot(shares, [point["ships"] for point in its], "o-", color=SHIPPED, label=f"{backbone}, shipped")
        axes.set_xscale("log")
        ticks = sorted({point["percent"] for point in points})
        axes.set_xticks(ticks, [f"{tick} %" for tick in ticks])
        axes.minorticks_off()
        axes.set_xlabel("share of the users in train")
        axes.set_ylabel("AUC")
        axes.yaxis.label.set_color(QUIET)
        axes.legend(frameon=False, labelcolor=QUIET)

    return _svg(3.6, draw)


def _svg(height: float, draw: Callable[[Axes], None]) -> str:
    with matplotlib.rc_context({"svg.hashsalt": "llactr", "svg.fonttype": "none", "font.size": 9}):
        figure = Figure(figsize=(8, height), layout="constrained")
        axes = figure.subplots()
        draw(axes)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        for item in (axes.xaxis.label, *axes.get_xticklabels(), *axes.get_yticklabels()):
            item.set_color(QUIET)
        drawn = io.StringIO()
        figure.savefig(drawn, format="svg", transparent=True, metadata={"Date": None})
    text = drawn.getvalue()
    return text[text.index("<svg") :]
