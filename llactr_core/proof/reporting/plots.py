"""The plots of a report, as SVG that needs nothing else."""

import io
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

SHIPPED, PLAIN, QUIET = "#2a78b8", "#b8772a", "#808080"  # QUIET is readable on light and on dark
Points = Sequence[Mapping[str, Any]]


def forest(arms: Points, ships: str = "") -> str:
    """RelaImpr of every arm with its interval; the arm that ships stands out."""
    shown = [arm for arm in reversed(arms) if arm["backbone"] and arm["name"] != "plain" and _is_defined(arm)]

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for place, arm in enumerate(shown):
            value, (low, high) = arm["relaimpr"], arm["interval"]
            color = SHIPPED if arm["name"] == ships else QUIET
            axes.plot([100 * low, 100 * high], [place, place], color=color, linewidth=2)
            axes.plot(100 * value, place, "o", color=color, markersize=5)
        axes.axvline(0, color=QUIET, linewidth=1)
        axes.set_yticks(range(len(shown)), [f"{arm['backbone']}, {arm['name']}" for arm in shown])
        axes.set_xlabel("RelaImpr against the plain backbone, %, with 95 % interval")

    return _svg(0.8 + 0.28 * len(shown), draw)


def learning_curve(points: Points) -> str:
    """AUC over the share of the users, plain and shipped: a panel for each backbone."""
    backbones = list(dict.fromkeys(point["backbone"] for point in points))
    columns = min(3, len(backbones))
    rows = -(-len(backbones) // columns)

    def draw(figure: Figure) -> None:
        panels = figure.subplots(rows, columns, squeeze=False).ravel()
        for axes, backbone in zip(panels, backbones, strict=False):
            _curve(axes, [point for point in points if point["backbone"] == backbone])
            axes.set_title(backbone, color=QUIET, fontsize=9)
        for axes in panels[len(backbones) :]:
            axes.set_visible(False)

    return _svg(2.8 * rows, draw)


def _curve(axes: Axes, points: Points) -> None:
    shares = [point["percent"] for point in points]
    axes.plot(shares, [point["plain"] for point in points], "o--", color=PLAIN, label="plain")
    axes.plot(shares, [point["ships"] for point in points], "o-", color=SHIPPED, label="shipped")
    axes.set_xscale("log")
    ticks = sorted(set(shares))
    axes.set_xticks(ticks, [f"{tick} %" for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel("share of the users in train")
    axes.set_ylabel("AUC")
    axes.legend(frameon=False, labelcolor=QUIET)


def _is_defined(arm: Mapping[str, Any]) -> bool:
    return all(math.isfinite(one) for one in (arm["relaimpr"], *arm["interval"]))


def _svg(height: float, draw: Callable[[Figure], None]) -> str:
    with matplotlib.rc_context({"svg.hashsalt": "llactr", "svg.fonttype": "none", "font.size": 9}):
        figure = Figure(figsize=(8, height), layout="constrained")
        draw(figure)
        for axes in figure.axes:
            _quietened(axes)
        drawn = io.StringIO()
        figure.savefig(drawn, format="svg", transparent=True, metadata={"Date": None})
    text = drawn.getvalue()
    return text[text.index("<svg") :]


def _quietened(axes: Axes) -> None:
    """Lines and letters that can be read on light and on dark."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(QUIET)
    axes.tick_params(colors=QUIET)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set_color(QUIET)
