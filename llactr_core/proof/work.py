"""One proof from a dataset to its report: the rows, the time, the arms, the files."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import optuna

from llactr_core.data.splits import Splits
from llactr_core.files import write_atomic
from llactr_core.progress import ProgressCallback, silent
from llactr_core.proof.arms import PLAIN, Arm, Read, arms_of, shipped
from llactr_core.proof.cuts import few_rows
from llactr_core.proof.options import LATER_TRIALS, ProveOptions
from llactr_core.proof.reporting.curve import curve_points
from llactr_core.proof.reporting.numbers import as_json
from llactr_core.proof.reporting.page import markdown, page
from llactr_core.proof.reporting.report import Json, report_of
from llactr_core.proof.rows import CURVE, Asked, share_of
from llactr_core.proof.study import Plan, Study
from llactr_core.schema import Schema
from llactr_core.semantics.encoder import choose_device
from llactr_core.semantics.weights import DEFAULT_MODEL, resolve_model
from llactr_core.training.prepared import Prepared
from llactr_core.turn import Turn, at_once

LEAST_SEEDS = 2
SLACK = 1.5  # some options take longer than the defaults
REPORTS = ("report.json", "report.md", "report.html")

Reader = Callable[[Splits], Read]


@dataclass(frozen=True)
class Place:
    """Where a proof works, so that one that was killed goes on.

    Args:
        folder: of scores and reports.
        storage: of the searches.
        progress: is told where it stands; may raise JobCancelled.
        turn: is asked for the accelerator that CTRL runs on.
    """

    folder: Path
    storage: optuna.storages.BaseStorage
    progress: ProgressCallback = silent
    turn: Turn = at_once


def prove(
    splits: Splits,
    schema: Schema,
    options: ProveOptions,
    reader: Reader,
    place: Place,
    about: Json,
    language_model: str = DEFAULT_MODEL,
) -> Json:
    """Run a proof and write report.json, report.md and report.html into its folder.

    Args:
        splits: the dataset.
        schema: its fields and label.
        options: how much is done, and on which rows.
        reader: has the language model read the rows that it is given, tuned on those alone.
        place: where it works.
        about: what the report says of the run besides: its command.
        language_model: what CTRL reads rows with.

    Returns:
        The report.

    Raises:
        DataError, SchemaError, OptionError: data, schema or options do not fit.
        NotFoundError: what CTRL reads rows with is not here.
    """
    began = time.monotonic()
    minutes = options.its_minutes
    until = None if minutes is None else began + 60 * minutes
    asked = Asked.of(splits, schema, options)
    if "ctrl" in options.methods:
        resolve_model(language_model)
        choose_device(options.its_ctrl.device)
    plan = Plan(
        tuple(options.its_backbones),
        options.its_trials,
        min(options.its_trials, LATER_TRIALS),
        options.its_seeds,
        epochs=options.epochs,
        quick=options.quick,
        final=options.final,
        user=asked.user,
        item=options.item,
        methods=options.methods,
        language_model=language_model,
        fixed=options.fixed,
        until=until,
    )
    read = reader(asked.splits)
    curve: list[Json] = []
    if options.cut == "learning-curve":
        for done, percent in enumerate(CURVE):
            part = replace(plan, until=_share(until, (done + 1) / (2 * len(CURVE))))
            curve += _points(asked, read, part, place, percent)
    study, left_out = study_in_time(asked, read, plan, place)
    outcome = study.run()
    outcome = replace(outcome, left_out=[*read.left_out, *left_out, *outcome.left_out])
    if curve:
        curve += curve_points(outcome, 100, study.train_rows)
    told = {**about, "curve": curve, "seconds": time.monotonic() - began, "quick": options.quick, "data": study.how}
    report = report_of(schema.name, outcome, plan, told)
    write(report, place.folder)
    return report


def _points(asked: Asked, read: Read, plan: Plan, place: Place, percent: int) -> list[Json]:
    """Plain and what ships on a few of the users, judged on the same rows."""
    name = shipped(read.tuned.values is not None)
    arms = [arm for arm in arms_of(read.tuned.values is not None, quick=True) if arm.name in (PLAIN, name)]
    fewer = replace(asked, splits=few_rows(asked.splits, asked.user, percent))
    study, _ = study_in_time(fewer, read, plan, place, arms)
    return curve_points(study.run(), percent, study.train_rows)


def _share(until: float | None, share: float) -> float | None:
    """The moment at which this share of the time that is left has gone."""
    now = time.monotonic()
    return None if until is None else now + share * (until - now)


def write(report: Json, folder: Path) -> None:
    """The report in its three forms."""
    for name, text in zip(REPORTS, (as_json(report), markdown(report), page(report)), strict=True):
        write_atomic(folder / name, text.encode(), 0o644)


def study_in_time(
    asked: Asked, read: Read, plan: Plan, place: Place, arms: list[Arm] | None = None
) -> tuple[Study, list[str]]:
    """The study, on fewer rows where a first run shows that the time is too short for all; and what that left out.

    What was decided lies in the folder, so that a killed proof goes on with the same rows.
    """
    schema, label = asked.schema, str(asked.schema.label)

    def study_on(rows: Splits) -> Study:
        plain = Prepared.read(rows, schema)
        valued = plain if read.tuned.values is None else Prepared.read(rows, schema, read.tuned.values)
        return Study(
            plain, valued, read, plan, place.folder / "scores", place.storage, place.progress, arms, place.turn
        )

    study = study_on(asked.splits)
    if plan.until is None:
        return study, []
    percent = _percent(study, plan, place.folder / f"time-{study.work_key[:16]}.json")
    if percent >= 100:
        return study, []
    fewer = study_on(share_of(asked.splits, label, asked.user, percent, final=plan.final))
    lost = study.train_rows - fewer.train_rows
    if not lost:
        return fewer, []
    return fewer, [f"{lost:,} of {study.train_rows:,} rows of train, and of what is judged likewise, for lack of time"]


def _percent(study: Study, plan: Plan, kept: Path) -> int:
    """The share of the rows with which one trial and two seeds of every arm end in time, by a first run's pace."""
    if kept.exists():
        return int(json.loads(kept.read_text(encoding="utf-8"))["percent"])
    seconds = study.first_run()
    runs = len(study.arms) * len(plan.backbones) * (1 + min(LEAST_SEEDS, len(plan.seeds)))
    aligning = study.alignments()
    left = (plan.until or 0.0) - time.monotonic()
    percent = min(100, max(1, int(100 * left / (SLACK * (runs * seconds + aligning)))))
    write_atomic(kept, json.dumps({"percent": percent, "seconds_of_a_run": seconds, "runs": runs}).encode())
    return percent
