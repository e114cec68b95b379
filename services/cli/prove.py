"""`llactr prove`: whether field semantics help on a dataset, and whether it is the semantics."""

import json
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from services.cli.console import AsJson, CommandError, result, say
from services.cli.display import Display
from services.cli.reading import dataset_of, semantics_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from llactr_core.data.splits import Splits
    from llactr_core.proof.arms import Read
    from llactr_core.proof.study import Outcome, Plan
    from llactr_core.schema import Schema
    from llactr_core.training.prepared import Prepared

QUICK_S = 13 * 60.0  # the searches end here, the last runs after it
SEEDS, QUICK_SEEDS = 5, 3
QUICK_ROWS = 60_000  # of train, at most

Cut = Literal["none", "item-cold", "users-5", "users-20"]


def prove(
    data: Annotated[Path, typer.Option(help="A folder of train, valid and test files, or one file.")],
    out: Annotated[Path, typer.Option(help="The reports, and what a killed run goes on from.")],
    label: Annotated[str | None, typer.Option(help="The column of 0 and 1.")] = None,
    schema: Annotated[Path | None, typer.Option(help="A schema as YAML; else it is inferred.")] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="A first answer: DeepFM, fewer arms, trials and seeds.")
    ] = False,
    final: Annotated[bool, typer.Option("--final", help="Judge on test; the reading is logged.")] = False,
    backbones: Annotated[str | None, typer.Option(help="Names with commas between them; default: all six.")] = None,
    cut: Annotated[Cut, typer.Option(help="Judge on items that train never had, or train on few users.")] = "none",
    item: Annotated[str | None, typer.Option(help="The column of items, for --cut item-cold.")] = None,
    user: Annotated[str | None, typer.Option(help="The column of users; by default the schema's group.")] = None,
    trials: Annotated[int | None, typer.Option(min=1, help="Of the first backbone's searches; default 12.")] = None,
    language_model: Annotated[str | None, typer.Option(help="What reads fields and values.")] = None,
    as_json: AsJson = False,
) -> None:
    """Tune, train and judge every arm: plain, widened, LLaCTR, its parts and controls; a killed run goes on."""
    from llactr_core.proof.page import markdown, page
    from llactr_core.proof.report import report_of
    from llactr_core.training.prepared import Prepared

    started = time.monotonic()
    splits, read_schema = dataset_of(data, label, schema)
    splits = _cut(splits, read_schema, cut, item, user, quick)
    out.mkdir(parents=True, exist_ok=True)
    with _alone(out), Display() as display:
        read = _read(splits, read_schema, language_model, quick, out, display)
        plan = _plan(quick, final, backbones, trials, started)
        plain = Prepared.read(splits, read_schema)
        values = read.tuned.values
        valued = plain if values is None else Prepared.read(splits, read_schema, values)
        outcome = _run(plain, valued, read, plan, out, display)
    command = " ".join(["llactr", *sys.argv[1:]])
    about: dict[str, object] = {
        "command": command,
        "seconds": time.monotonic() - started,
        "quick": quick,
        "data": splits.how,
    }
    report = report_of(read_schema.name, outcome, plan, about)
    (out / "report.json").write_text(json.dumps(report, indent=1), encoding="utf-8")
    (out / "report.md").write_text(markdown(report), encoding="utf-8")
    (out / "report.html").write_text(page(report), encoding="utf-8")
    say(f"{report['verdict']}\nreport {out / 'report.html'}, report.md, report.json")
    result({"verdict": report["verdict"], "code": report["verdict_code"], "report": str(out / "report.json")}, as_json)


def _cut(splits: "Splits", schema: "Schema", cut: Cut, item: str | None, user: str | None, quick: bool) -> "Splits":
    """The rows that the proof works on; quick takes no more of train than it has time for."""
    from llactr_core.data.read import require_column
    from llactr_core.proof.cuts import few_rows, item_cold

    if cut == "item-cold":
        if item is None:
            raise CommandError("--cut item-cold needs --item COLUMN, the column that names the items")
        require_column(splits.train, item)
        splits = item_cold(splits, item)
    elif cut != "none":
        column = _user_column(splits, schema, user)
        if column is None:
            raise CommandError(f"--cut {cut} needs --user COLUMN, or 'group' in the schema")
        splits = few_rows(splits, column, int(cut.removeprefix("users-")))
    rows = sum(batch.num_rows for batch in splits.train.batches([str(schema.label)]))
    if quick and rows > QUICK_ROWS:
        splits = few_rows(splits, _user_column(splits, schema, user), max(1, 100 * QUICK_ROWS // rows))
    return splits


def _user_column(splits: "Splits", schema: "Schema", user: str | None) -> str | None:
    """The column of users; None where neither the caller nor the schema names one."""
    from llactr_core.data.read import require_column

    column = user or schema.group or next((field.column for field in schema.fields if field.side == "user"), None)
    if column is not None:
        require_column(splits.train, column)
    return column


def _run(plain: "Prepared", valued: "Prepared", read: "Read", plan: "Plan", out: Path, display: Display) -> "Outcome":
    import optuna

    from llactr_core.proof.readings import record_reading
    from llactr_core.proof.study import Study

    storage = optuna.storages.RDBStorage(f"sqlite:///{out / 'searches.sqlite'}")
    if plan.final:
        record_reading(" ".join(["llactr", *sys.argv[1:]]))
    return Study(plain, valued, read, plan, out / "scores", storage, display.progress("proof")).run()


def _plan(quick: bool, final: bool, backbones: str | None, trials: int | None, started: float) -> "Plan":
    from llactr_core.models.registry import BACKBONES
    from llactr_core.proof.study import Plan

    names = tuple(backbones.split(",")) if backbones else ("deepfm",) if quick else tuple(_deep_first(BACKBONES))
    unknown = [name for name in names if name not in BACKBONES]
    if unknown:
        raise CommandError(f"no backbone is called {', '.join(unknown)}; there are {', '.join(BACKBONES)}")
    count = trials or (3 if quick else 12)
    seeds = tuple(range(1, 1 + (QUICK_SEEDS if quick else SEEDS)))
    deadline = started + QUICK_S * 0.5 if quick else None
    return Plan(names, count, min(count, 4), seeds, quick=quick, final=final, deadline=deadline)


def _deep_first(names: "Iterable[str]") -> list[str]:
    return sorted(names, key=lambda name: (name != "deepfm", name))


def _read(splits: "Splits", schema: "Schema", model: str | None, quick: bool, out: Path, display: Display) -> "Read":
    from llactr_core.proof.arms import Read
    from llactr_core.semantics.options import SsftOptions
    from llactr_core.semantics.semantics import Semantics

    def read(options: SsftOptions, name: str) -> Semantics:
        return semantics_of(splits, schema, model, options, out / name, display, with_values=True)

    tuned = read(SsftOptions(), "tuned")
    return Read(tuned, Semantics() if quick else read(SsftOptions(skip=True), "untuned"))


@contextmanager
def _alone(out: Path) -> "Iterator[None]":
    """One run at a time in a folder."""
    import fcntl

    with (out / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise CommandError(f"another run works in {out}; wait for it, or give another --out") from error
        yield
