"""docs/results.md: what the proof found on each dataset."""

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.results.targets import HEAD as TARGETS_HEAD
from benchmarks.results.targets import target_rows
from llactr_core.proof.reporting.numbers import between, percent

Report = Mapping[str, Any]
AIMS = (
    "Of what ships, against the equally tuned plain backbone. An aim counts as reached by its point; the interval says "
    "how sure that is. Where the whole matrix was not run, the first answer stands for it."
)

HEAD = """# Do field semantics improve the prediction?

Written by `make results` ([runs](../benchmarks/results/runs.yaml)) from the reports of `llactr prove` in
[results/](results/); the datasets are not in the repository. How to read it:

- Every arm was searched with the same number of trials on validation and then trained with several seeds; what is
  judged is the mean over seeds (and, in the first table of a section, over backbones).
- RelaImpr is (AUC - 0.5) / (plain AUC - 0.5) - 1. Its interval is a hierarchical bootstrap over seeds and users (rows
  where there are no users) of the paired difference. "Detectable" is the smallest true gain that would have been found
  with a power of 80 %.
- A gain counts as the semantics' only if what ships beats plain, the widened plain backbone and each control (the same
  model with random, shuffled or equal vectors, or vectors of a language model that was not tuned).
- A first answer (`--quick`) has one backbone, fewer arms, trials, seeds and training rows.
"""


def written(sections: Sequence[tuple[str, str, Report]], missing: Sequence[str]) -> str:
    """The page, from (title, name, report) of each run that was made and the titles of the others."""
    aims = _table(TARGETS_HEAD, target_rows({name: report for _, name, report in sections}))
    parts = [HEAD, _summary(sections), f"## What was aimed at\n\n{AIMS}\n\n{aims}"]
    parts += [_section(title, name, report) for title, name, report in sections]
    if missing:
        parts.append("## Not run yet\n\n" + "\n".join(f"- {title}" for title in missing) + "\n")
    return "\n".join(parts)


def _summary(sections: Sequence[tuple[str, str, Report]]) -> str:
    rows = []
    for title, _, report in sections:
        plain = report["against"]["plain"]
        auc, gain, loss = plain["auc"], plain["relaimpr"], plain["logloss"]
        rows.append(
            [
                title,
                report["ships"],
                f"{auc['value']:+.4f}",
                percent(gain["value"]),
                between(*gain["interval"]),
                percent(gain["detectable"]).removeprefix("+"),
                f"{loss['value']:+.4f}",
                report["verdict_code"],
            ]
        )
    head = ["dataset", "ships", "AUC", "RelaImpr", "95 % interval", "detectable", "LogLoss", "verdict"]
    return "## What ships against the plain backbone\n\n" + _table(head, rows)


def _section(title: str, name: str, report: Report) -> str:
    about = (
        f"**{report['verdict']}**\n\nJudged on {report['judged_on']}: {report['rows']:,} rows, "
        f"{report['seeds']} seeds; backbones: {', '.join(report['backbones'])}. Data: {report['data']}. "
        f"`{report['command']}`, "
        f"{report['seconds'] / 60:.0f} minutes.\n"
    )
    head = ["arm", "AUC", "RelaImpr", "LogLoss", "ECE"]
    arms = _table(head, [_arm(report, arm) for arm in dict.fromkeys(one["name"] for one in report["arms"])])
    rivals = [[rival, *_rival(one)] for rival, one in report["against"].items()]
    against = _table(["against", "AUC", "RelaImpr", "95 % interval", "LogLoss"], rivals)
    left_out = "".join(f"- Left out: {text}\n" for text in report["left_out"])
    return f"## {title}\n\n{about}\n{arms}\n{report['ships']} against:\n\n{against}\n{left_out}"


def _arm(report: Report, name: str) -> list[str]:
    """The means over backbones of one arm."""
    chosen = [one for one in report["arms"] if one["name"] == name]

    def mean(key: str) -> float:
        return float(sum(one[key] for one in chosen) / len(chosen))

    return [name, f"{mean('auc'):.4f}", _gain(chosen), f"{mean('logloss'):.4f}", f"{mean('ece'):.4f}"]


def _rival(one: Mapping[str, Any]) -> list[str]:
    gain = one["relaimpr"]
    return [
        f"{one['auc']['value']:+.4f}",
        percent(gain["value"]),
        between(*gain["interval"]),
        f"{one['logloss']['value']:+.4f}",
    ]


def _gain(arms: Sequence[Mapping[str, Any]]) -> str:
    """The mean RelaImpr; none where one of them has none."""
    gains = [arm["relaimpr"] for arm in arms]
    return percent(None if None in gains else sum(gains) / len(gains))


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"
