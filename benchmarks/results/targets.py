"""What was aimed at, and what the reports say of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from llactr_core.proof.reporting.numbers import between, percent
from llactr_core.proof.reporting.pool import pooled

Report = Mapping[str, Any]
Said = tuple[str, bool]  # what was found, and whether it is what was aimed at
HEAD = ("aim", "wanted", "found", "", "from")


@dataclass(frozen=True)
class Target:
    """One aim.

    Args:
        aim: in a few words.
        wanted: of it.
        runs: whose reports answer it; the first one that is there does.
        said: what a report says.
    """

    aim: str
    wanted: str
    runs: tuple[str, ...]
    said: Callable[[Report], Said]


def gain(least: float) -> Callable[[Report], Said]:
    """RelaImpr over plain, at least so much."""

    def said(report: Report) -> Said:
        one = report["against"]["plain"]["relaimpr"]
        return f"{percent(one['value'])} [{between(*one['interval'])}]", (one["value"] or 0.0) >= least

    return said


def more_auc(least: float) -> Callable[[Report], Said]:
    """AUC over plain, at least so much."""

    def said(report: Report) -> Said:
        one = report["against"]["plain"]["auc"]
        low, high = one["interval"]
        return f"{one['value']:+.4f} [{low:+.4f} .. {high:+.4f}]", one["value"] >= least

    return said


def as_calibrated(report: Report) -> Said:
    """ECE and predicted/true of what ships against those of plain, means over backbones."""
    plain, ships = (_means(report, name) for name in ("plain", report["ships"]))
    found = f"ECE {ships[0]:.4f}, plain {plain[0]:.4f}; predicted/true {ships[1]:.3f}, plain {plain[1]:.3f}"
    return found, ships[0] <= plain[0] and abs(ships[1] - 1) <= abs(plain[1] - 1)


def perfectly_calibrated(report: Report) -> Said:
    """Whether what ships is as well calibrated as a perfect model would look, with every backbone."""
    arms = [arm for arm in report["arms"] if arm["name"] == report["ships"]]
    within = sum(arm["perfect"]["within"] for arm in arms)
    return f"within its range for {within} of {len(arms)} backbones", within == len(arms)


def _means(report: Report, name: str) -> tuple[float, float]:
    arms = [arm for arm in report["arms"] if arm["name"] == name]
    ece, ratio = (sum(arm[key] for arm in arms) / len(arms) for key in ("ece", "predicted_over_true"))
    return ece, ratio


WHOLE = ("ml1m", "magazine", "adult")  # every backbone, by which the mean over datasets is judged
TARGETS = (
    Target(
        "ml1m, films that train never had: AUC", ">= +0.03", ("ml1m-item-cold", "ml1m-item-cold-quick"), more_auc(0.03)
    ),
    Target("magazine, items that train never had: AUC", ">= +0.03", ("magazine-item-cold",), more_auc(0.03)),
    Target("ml1m, 5 % of the users: RelaImpr", ">= +5 %", ("ml1m-users-5-quick",), gain(0.05)),
    Target("ml1m, 20 % of the users: RelaImpr", ">= +5 %", ("ml1m-users-20-quick",), gain(0.05)),
    Target("ml1m, split by time: calibration", "no worse than plain", ("ml1m", "ml1m-quick"), as_calibrated),
    Target("adult, random split: calibration", "as perfect", ("adult", "adult-quick"), perfectly_calibrated),
)


def target_rows(reports: Mapping[str, Report]) -> list[list[str]]:
    """Cells of `HEAD`, from the reports by the names of their runs."""
    return [_pooled(reports), *(_row(target, reports) for target in TARGETS)]


def _row(target: Target, reports: Mapping[str, Report]) -> list[str]:
    run = next((name for name in target.runs if name in reports), None)
    if run is None:
        return [target.aim, target.wanted, "", "not run", " or ".join(target.runs)]
    found, is_reached = target.said(reports[run])
    return [target.aim, target.wanted, found, "reached" if is_reached else "**not reached**", run]


def _pooled(reports: Mapping[str, Report]) -> list[str]:
    """The mean over the datasets: the gain, its interval, and that to each control."""
    aim, wanted = "six backbones, three datasets together: RelaImpr", ">= +2.24 %, it and that to each control above 0"
    absent = [name for name in WHOLE if name not in reports]
    if absent:
        return [aim, wanted, "", "not run", f"{', '.join(absent)} missing"]
    report: Report = pooled([reports[name] for name in WHOLE])
    against = report["against"]
    found, is_enough = gain(0.0224)(report)
    level = [name for name, one in against.items() if one["auc"]["interval"][0] <= 0]
    told = f"{found}; not surely better than: {', '.join(level)}" if level else found
    return [aim, wanted, told, "reached" if is_enough and not level else "**not reached**", ", ".join(WHOLE)]
