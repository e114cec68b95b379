"""`llactr prove`: whether field semantics help on a dataset, and whether it is the semantics."""

import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.console import AsJson, CommandError, result, say
from services.cli.display import Display
from services.cli.options import parse_options
from services.cli.reading import dataset_of, scenes_of, semantics_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from llactr_core.data.splits import Splits
    from llactr_core.proof.arms import Read
    from llactr_core.proof.options import ProveOptions
    from llactr_core.proof.pace import Pace
    from llactr_core.proof.work import Reader
    from llactr_core.schema import Schema
    from llactr_core.semantics.options import SsftOptions
    from llactr_core.semantics.semantics import Semantics
    from services.cli.reading import Texts


def prove(
    out: Annotated[Path, typer.Option(help="The reports, and what a killed run goes on from.")],
    data: Annotated[Path | None, typer.Option(help="A folder of train, valid and test files, or one file.")] = None,
    label: Annotated[str | None, typer.Option(help="The column of 0 and 1.")] = None,
    schema: Annotated[Path | None, typer.Option(help="A schema as YAML; else it is inferred.")] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="A first answer: DeepFM, fewer arms, trials, seeds and rows.")
    ] = False,
    minutes: Annotated[
        float | None, typer.Option(min=0.01, help="How long it may take; with --quick 14, else no limit.")
    ] = None,
    final: Annotated[bool, typer.Option("--final", help="Judge on test; the reading is logged.")] = False,
    backbones: Annotated[str | None, typer.Option(help="Names with commas between them; default: all six.")] = None,
    methods: Annotated[str | None, typer.Option(help="More arms: ctrl, larr, with a comma between them.")] = None,
    cut: Annotated[
        str, typer.Option(help="item-cold, users-5, users-20: other rows; learning-curve: AUC by number of users.")
    ] = "none",
    item: Annotated[str | None, typer.Option(help="The column of items.")] = None,
    user: Annotated[str | None, typer.Option(help="The column of users; by default the schema's group.")] = None,
    trials: Annotated[int | None, typer.Option(min=1, help="Of the first backbone's searches; default 12.")] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Of the judged runs; default 5, with --quick 3.")] = None,
    language_model: Annotated[str | None, typer.Option(help="What reads fields and values.")] = None,
    options: Annotated[
        list[str] | None,
        typer.Option(
            "--option", "-o", metavar="KEY=VALUE", help="ctrl.KEY or larr.KEY, an option of a method; may be repeated."
        ),
    ] = None,
    pool: Annotated[
        list[Path] | None, typer.Option(help="A report.json; give several: what they say together.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Tune, train and judge every arm: plain, widened, LLaCTR, its parts and controls; a killed run goes on."""
    from llactr_core.enhancers.larr.model import check_model
    from llactr_core.proof.options import ProveOptions
    from llactr_core.proof.rows import Asked
    from llactr_core.semantics.weights import DEFAULT_MODEL

    if pool and data is not None:
        raise CommandError("give --data, a dataset to work on, or --pool, the reports of earlier runs, and not both")
    if pool:
        out.mkdir(parents=True, exist_ok=True)
        report = _pooled(pool, out)
    elif data is None:
        raise CommandError("give --data, the dataset to work on, or --pool with the reports of earlier runs")
    else:
        given: dict[str, object] = {"quick": quick, "minutes": minutes, "final": final, "cut": cut}
        given |= {
            "item": item,
            "user": user,
            "trials": trials,
            "seeds": seeds,
            "backbones": _names(backbones),
            "methods": _names(methods) or (),
        }
        chosen = ProveOptions.parse({**given, **_own(options)})
        splits, read_schema = dataset_of(data, label, schema)
        Asked.of(splits, read_schema, chosen)
        if "larr" in chosen.methods:
            check_model(language_model or DEFAULT_MODEL, chosen.its_larr)
        out.mkdir(parents=True, exist_ok=True)
        with _alone(out), Display() as display:
            reader = _Reader(read_schema, language_model, chosen, out, display)
            report = _proved(splits, read_schema, chosen, reader, out, display, language_model)
    say(f"{report['verdict']}\nreport {out / 'report.html'}, report.md, report.json")
    result({"verdict": report["verdict"], "code": report["verdict_code"], "report": str(out / "report.json")}, as_json)


def _names(given: str | None) -> tuple[str, ...] | None:
    return None if given is None else tuple(name.strip() for name in given.split(","))


def _own(options: list[str] | None) -> dict[str, object]:
    """The options of methods; all others have flags."""
    own = parse_options(options) or {}
    others = sorted(own.keys() - {"ctrl", "larr"})
    if others:
        raise CommandError(f"--option is for ctrl.KEY and larr.KEY, not for {others[0]!r}; see llactr prove --help")
    return own


def _pooled(files: list[Path], out: Path) -> dict[str, object]:
    from llactr_core.proof.reporting.pool import pool_reports

    return pool_reports(files, out)


def _proved(
    splits: "Splits",
    schema: "Schema",
    options: "ProveOptions",
    reader: "Reader",
    out: Path,
    display: Display,
    model: str | None,
) -> dict[str, object]:
    import optuna

    from llactr_core.proof.options import QUICK_SCENES, QUICK_TUNING
    from llactr_core.proof.readings import record_reading
    from llactr_core.proof.work import Place, prove
    from llactr_core.semantics.weights import DEFAULT_MODEL

    command = " ".join(["llactr", *sys.argv[1:]])
    if options.final:
        record_reading(command)
    storage = optuna.storages.RDBStorage(f"sqlite:///{out / 'searches.sqlite'}")
    place = Place(out, storage, display.progress("proof"))
    about: dict[str, object] = {"command": command}
    if options.quick:
        larr = options.its_larr.model_dump(include=set(QUICK_SCENES)) if "larr" in options.methods else {}
        short = {**QUICK_TUNING, **larr}
        told = ", ".join(f"{name} {value}" for name, value in short.items())
        about["tuning"] = f"The language model was tuned shortly ({told})"
    return prove(splits, schema, options, reader, place, about, model or DEFAULT_MODEL)


@dataclass(frozen=True)
class _Reader:
    """Lets a language model read the rows that the proof works on."""

    schema: "Schema"
    model: str | None
    options: "ProveOptions"
    out: Path
    display: Display

    def __call__(self, splits: "Splits") -> "Read":
        """What it says of them, tuned on them, as it came, and of their scenes where LARR is asked for."""
        from llactr_core.proof.arms import Read
        from llactr_core.proof.options import QUICK_TUNING
        from llactr_core.semantics.options import SsftOptions
        from llactr_core.semantics.semantics import Semantics

        how = SsftOptions.parse(QUICK_TUNING if self.options.quick else {})
        pace = self._pace(splits, how)
        left_out = dict.fromkeys(pace.left_out({}))

        def among(texts: "Texts") -> "Texts":
            left_out.update(dict.fromkeys(pace.left_out(texts)))
            return pace.most_frequent(texts)

        tuned = self._read(splits, how.model_copy(update={"sam_num": pace.samples}), "tuned", among)
        untuned = Semantics() if self.options.quick else self._read(splits, SsftOptions(skip=True), "untuned", among)
        scenes = self._scenes(splits) if "larr" in self.options.methods else Semantics()
        return Read(tuned, untuned, scenes, tuple(left_out))

    def _pace(self, splits: "Splits", how: "SsftOptions") -> "Pace":
        from llactr_core.proof.pace import Pace
        from llactr_core.semantics.weights import DEFAULT_MODEL

        minutes, readings = self.options.its_minutes, 1 if self.options.quick else 2
        if minutes is None:
            return Pace.unhurried(how)
        model = self.model or DEFAULT_MODEL
        return Pace.of(splits, self.schema, model, how, minutes, readings, self.out)

    def _read(self, splits: "Splits", how: "SsftOptions", name: str, among: "Callable[[Texts], Texts]") -> "Semantics":
        from llactr_core.proof.rows import newcomers

        more, work = newcomers(splits, self.options), self.out / name
        return semantics_of(
            splits, self.schema, self.model, how, work, self.display, with_values=True, more=more, among=among
        )

    def _scenes(self, splits: "Splits") -> "Semantics":
        how = self.options.its_larr
        return scenes_of(splits, self.schema, self.model, how, self.out / "scenes", self.display)


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
