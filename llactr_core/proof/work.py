"""One proof from a dataset to its report: the rows, the time, the arms, the files."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import optuna

from llactr_core.data.read import Source, require_column
from llactr_core.data.splits import Splits
from llactr_core.errors import OptionError
from llactr_core.files import write_atomic
from llactr_core.progress import ProgressCallback, silent
from llactr_core.proof.arms import PLAIN, Arm, Read, arms_of, shipped
from llactr_core.proof.cuts import few_rows, item_cold, row_count, thinned
from llactr_core.proof.options import LATER_TRIALS, ProveOptions
from llactr_core.proof.reporting.curve import curve_points
from llactr_core.proof.reporting.page import markdown, page
from llactr_core.proof.reporting.report import Json, report_of
from llactr_core.proof.study import Plan, Study
from llactr_core.schema import Schema
from llactr_core.semantics.weights import DEFAULT_MODEL
from llactr_core.training.prepared import Prepared

CURVE = (5, 20)  # percent of the users, besides all
QUICK_ROWS = 60_000  # of each part, at most
LEAST_ROWS = 2_000  # of each part are kept, however little time there is
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
    """

    folder: Path
    storage: optuna.storages.BaseStorage
    progress: ProgressCallback = silent


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
    """
    began = time.monotonic()
    minutes = options.its_minutes
    until = None if minutes is None else began + 60 * minutes
    user = checked_user(splits, schema, options)
    plan = Plan(
        tuple(options.its_backbones),
        options.its_trials,
        min(options.its_trials, LATER_TRIALS),
        options.its_seeds,
        epochs=options.epochs,
        quick=options.quick,
        final=options.final,
        user=user,
        item=options.item,
        methods=options.methods,
        language_model=language_model,
        until=until,
    )
    chosen = cut(splits, schema, options, user)
    read = reader(chosen)
    curve: list[Json] = []
    if options.cut == "learning-curve":
        for done, percent in enumerate(CURVE):
            part = replace(plan, until=_share(until, (done + 1) / (2 * len(CURVE))))
            curve += _points(chosen, schema, read, part, place, user, percent)
    study, left_out = study_in_time(chosen, schema, read, plan, place, user)
    outcome = study.run()
    outcome = replace(outcome, left_out=left_out + outcome.left_out)
    if curve:
        curve += curve_points(outcome, 100, study.train_rows)
    told = {**about, "curve": curve, "seconds": time.monotonic() - began, "quick": options.quick, "data": study.how}
    report = report_of(schema.name, outcome, plan, told)
    write(report, place.folder)
    return report


def _points(
    splits: Splits, schema: Schema, read: Read, plan: Plan, place: Place, user: str | None, percent: int
) -> list[Json]:
    """Plain and what ships on a few of the users, judged on the same rows."""
    name = shipped(read.tuned.values is not None)
    arms = [arm for arm in arms_of(read.tuned.values is not None, quick=True) if arm.name in (PLAIN, name)]
    study, _ = study_in_time(few_rows(splits, user, percent), schema, read, plan, place, user, arms)
    return curve_points(study.run(), percent, study.train_rows)


def _share(until: float | None, share: float) -> float | None:
    """The moment at which this share of the time that is left has gone."""
    now = time.monotonic()
    return None if until is None else now + share * (until - now)


def write(report: Json, folder: Path) -> None:
    """The report in its three forms."""
    for name, text in zip(REPORTS, (json.dumps(report, indent=1), markdown(report), page(report)), strict=True):
        write_atomic(folder / name, text.encode(), 0o644)


def user_column(splits: Splits, schema: Schema, given: str | None) -> str | None:
    """The column of users; None where neither the caller nor the schema names one.

    Raises:
        DataError: the dataset has no such column.
    """
    column = given or schema.group or next((field.column for field in schema.fields if field.side == "user"), None)
    if column is not None:
        require_column(splits.train, column)
    return column


def checked_user(splits: Splits, schema: Schema, options: ProveOptions) -> str | None:
    """The column of users, where the dataset has all columns that the options need.

    Raises:
        DataError: it lacks one.
        OptionError: few users were asked for, and nothing names them.
    """
    user = user_column(splits, schema, options.user)
    if options.cut == "item-cold":
        require_column(splits.train, str(options.item))
    elif options.cut != "none" and user is None:
        raise OptionError(f"cut {options.cut!r} needs 'user', or 'group' in the schema", field="user")
    return user


def cut(splits: Splits, schema: Schema, options: ProveOptions, user: str | None) -> Splits:
    """The rows that the proof works on; quick takes no more of each part than it can have time for."""
    if options.cut == "item-cold":
        splits = item_cold(splits, str(options.item))
    elif options.cut.startswith("users-"):
        splits = few_rows(splits, user, int(options.cut.removeprefix("users-")))
    return few_enough(splits, str(schema.label), user) if options.quick else splits


def newcomers(splits: Splits, options: ProveOptions) -> tuple[Source, ...]:
    """The files whose values are read besides train's: with cold items, what a service would be told of new ones."""
    if options.cut != "item-cold":
        return ()
    return (splits.valid, splits.test) if options.final else (splits.valid,)


def few_enough(splits: Splits, label: str, user: str | None) -> Splits:
    """At most about 60,000 rows of each part."""
    rows = [row_count(part, label) for part in (splits.train, splits.valid, splits.test)]
    train, valid, test = (max(1, min(100, 100 * QUICK_ROWS // max(count, 1))) for count in rows)
    return splits if min(train, valid, test) == 100 else thinned(splits, user, (train, valid, test), "quick")


def study_in_time(
    splits: Splits,
    schema: Schema,
    read: Read,
    plan: Plan,
    place: Place,
    user: str | None,
    arms: list[Arm] | None = None,
) -> tuple[Study, list[str]]:
    """The study, on fewer rows where a first run shows that the time is too short for all; and what that left out.

    What was decided lies in the folder, so that a killed proof goes on with the same rows.
    """

    def study_on(rows: Splits) -> Study:
        plain = Prepared.read(rows, schema)
        valued = plain if read.tuned.values is None else Prepared.read(rows, schema, read.tuned.values)
        return Study(plain, valued, read, plan, place.folder / "scores", place.storage, place.progress, arms)

    study = study_on(splits)
    if plan.until is None:
        return study, []
    percent = _percent(study, plan, place.folder / f"time-{study.key[:16]}.json")
    if percent >= 100:
        return study, []
    rows = [row_count(part, str(schema.label)) for part in (splits.train, splits.valid, splits.test)]
    train, valid, test = (min(100, max(percent, -(-100 * LEAST_ROWS // max(count, 1)))) for count in rows)
    fewer = thinned(splits, user, (train, valid, test), "time")
    kept = row_count(fewer.train, str(schema.label))
    return study_on(fewer), [
        f"{rows[0] - kept:,} of {rows[0]:,} rows of train, valid and test likewise, for lack of time"
    ]


def _percent(study: Study, plan: Plan, kept: Path) -> int:
    """The share of the rows with which one trial and two seeds of every arm end in time, by a first run's pace."""
    if kept.exists():
        return int(json.loads(kept.read_text(encoding="utf-8"))["percent"])
    seconds = study.first_run()
    runs = len(study.arms) * len(plan.backbones) * (1 + min(LEAST_SEEDS, len(plan.seeds)))
    left = (plan.until or 0.0) - time.monotonic()
    percent = min(100, max(1, int(100 * left / (SLACK * runs * seconds))))
    write_atomic(kept, json.dumps({"percent": percent, "seconds_of_a_run": seconds, "runs": runs}).encode())
    return percent
