"""Run what has no report yet and write docs/results.md; a run that was killed goes on."""

import argparse
import json
import os
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import yaml

from benchmarks.results.page import written
from llactr_core.files import write_atomic
from llactr_core.schema import Schema

HERE = Path(__file__).parent
DOCS = HERE.parents[1] / "docs"
REPORTS = DOCS / "results"


@dataclass(frozen=True)
class Run:
    """One `llactr prove`.

    Args:
        name: of its report.
        title: of its section.
        data: the dataset's folder.
        schema: of the folder `schemas`.
        options: on the command line.
    """

    name: str
    title: str
    data: str
    schema: str
    options: str

    @property
    def report(self) -> Path:
        """Where its report lies in the documentation."""
        return REPORTS / f"{self.name}.json"

    def arguments(self, datasets: Path, out: Path) -> list[str]:
        """Those of the command line behind `llactr`."""
        schema = HERE / "schemas" / f"{self.schema}.yaml"
        label = str(Schema.load(schema).label)
        data, file, folder = (os.path.relpath(path) for path in (datasets / self.data, schema, out))
        return [
            *("prove", "--data", data, "--label", label, "--schema", file, "--out", folder),
            *shlex.split(self.options),
        ]


def main() -> None:
    """`python -m benchmarks.results --datasets DIR [--only NAME,...]`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--datasets", type=Path, required=True, help="the folder with the datasets' folders")
    parser.add_argument("--state", type=Path, default=DOCS.parent / ".llactr" / "results")
    parser.add_argument("--only", default="", help="names of runs with commas between them; they are run anew")
    arguments = parser.parse_args()
    runs = all_runs()
    chosen = set(arguments.only.split(",")) - {""}
    unknown = chosen - {run.name for run in runs}
    if unknown:
        parser.error(f"no run is called {', '.join(sorted(unknown))}; there are {', '.join(run.name for run in runs)}")
    for run in runs:
        if run.name in chosen or not (chosen or run.report.exists()):
            _made(run, arguments.datasets, arguments.state / run.name)
    write_page(runs)


def all_runs() -> list[Run]:
    """The runs of runs.yaml."""
    return [Run(**content) for content in yaml.safe_load((HERE / "runs.yaml").read_text(encoding="utf-8"))]


def write_page(runs: list[Run]) -> None:
    """docs/results.md from the reports that are there."""
    done = [(run, json.loads(run.report.read_text(encoding="utf-8"))) for run in runs if run.report.exists()]
    missing = [run.title for run in runs if not run.report.exists()]
    sections = [(run.title, run.name, report) for run, report in done]
    write_atomic(DOCS / "results.md", written(sections, missing).encode())


def _made(run: Run, datasets: Path, out: Path) -> None:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    command = [str(Path(sys.executable).with_name("llactr")), *run.arguments(datasets, out)]
    subprocess.run(command, env=environment, check=True)
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    REPORTS.mkdir(parents=True, exist_ok=True)
    shown = {**report, "command": f"make results ONLY={run.name}"}  # the paths of this machine are nobody's matter
    write_atomic(run.report, (json.dumps(shown, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
