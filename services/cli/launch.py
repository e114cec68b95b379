"""What `llactr up` does once everything is checked: four processes, the main job, a summary, and the end of it all."""

import json
import os
import shlex
import sys
import threading

from llactr_client import Client, ClientError, Retry

from llactr_core.errors import LlactrError
from services.cli.console import CommandError, result
from services.cli.dataset_choice import DatasetChoice
from services.cli.display import Display
from services.cli.first_model import await_services, ensure_model
from services.cli.main_job import MainJob
from services.cli.place import HOST, Place
from services.cli.stopping import StopRequest
from services.cli.supervisor import Program, Supervisor, supervise

START_S = 90.0
# Large arrays come and go with every training step; above the default thresholds each would be mapped afresh.
# OpenMP threads must not spin while they wait: beside a busy neighbour on 2 cores that doubled a step's CPU time.
TUNING = {
    "MALLOC_MMAP_THRESHOLD_": "268435456",
    "MALLOC_TRIM_THRESHOLD_": "268435456",
    "OMP_WAIT_POLICY": "PASSIVE",
}


def launch(place: Place, choice: DatasetChoice, stop: StopRequest, *, as_json: bool) -> None:
    """Run the services until a stop is requested, and end every process that came of them.

    Raises:
        CommandError: a service cannot be started, or the main job failed.
    """
    supervisor = Supervisor(programs(place, choice))
    with Display() as display:
        opening = _Opening(place, choice, display, as_json)

        def each_tick() -> None:
            opening.check()
            hopeless = supervisor.hopeless()
            if hopeless is not None and not opening.healthy:
                raise CommandError(f"{hopeless.name} cannot start; the end of {hopeless.log}:\n{hopeless.last_lines()}")

        opening.start()
        try:
            supervise(supervisor, stop, each_tick, ending=lambda: _announce_end(display, opening))
        finally:
            opening.leave()


def programs(place: Place, choice: DatasetChoice) -> list[Program]:
    """The four processes with what they have to know beside the environment of this one.

    They may read the dataset's folder and the sample's, beside those that the environment names.
    """
    from llactr_core.datasets import sample_dataset

    folder = choice.path if choice.path.is_dir() else choice.path.parent
    folders = {str(folder), str(sample_dataset())}
    settings = {
        "LLACTR_HOME": str(place.home),
        "LLACTR_CTR_PORT": str(place.ctr_port),
        "LLACTR_LLM_PORT": str(place.llm_port),
        "LLACTR_CTR_LLM_URL": f"http://{HOST}:{place.llm_port}",
        "LLACTR_CTR_DATA_ROOTS": _roots("LLACTR_CTR_DATA_ROOTS", folders),
        "LLACTR_LLM_DATA_ROOTS": _roots("LLACTR_LLM_DATA_ROOTS", folders),
        "LLACTR_CTR_DEFAULT_MODEL": choice.schema.name,
        "PYTHONUNBUFFERED": "1",
        **{name: value for name, value in TUNING.items() if name not in os.environ},
    }
    logs = place.home / "logs"
    return [
        Program(name, (sys.executable, "-m", f"services.{name.replace('-', '.')}"), settings, logs / f"{name}.log")
        for name in ("llm-api", "llm-worker", "ctr-api", "ctr-worker")
    ]


def _roots(variable: str, folders: set[str]) -> str:
    try:
        given = json.loads(os.environ.get(variable) or "[]")
        return json.dumps(sorted(folders | {str(folder) for folder in given}))
    except (ValueError, TypeError) as error:
        raise CommandError(f'{variable} is no JSON list of folders, such as ["/data"]') from error


class _Opening(threading.Thread):
    """From started processes to an answering champion, beside the thread that watches the processes."""

    def __init__(self, place: Place, choice: DatasetChoice, display: Display, as_json: bool) -> None:
        super().__init__(name="opening", daemon=True)
        self.healthy = False
        self._place = place
        self._choice = choice
        self._display = display
        self._as_json = as_json
        self._left = False
        self._error: Exception | None = None

    def run(self) -> None:
        key = self._place.key()
        try:
            with Client(self._place.ctr_url, self._place.llm_url, key, retry=Retry(attempts=8)) as client:
                self._open(client)
        except Exception as error:  # whatever it is belongs to the main thread, which ends the processes
            self._error = error

    def check(self) -> None:
        """Raise what went wrong in this thread."""
        if self._error is None:
            return
        if isinstance(self._error, ClientError | LlactrError):
            logs = self._place.home / "logs"
            raise CommandError(f"{self._error} (the services' logs are in {logs})") from self._error
        raise self._error

    def leave(self) -> None:
        """Say nothing more."""
        self._left = True

    def _open(self, client: Client) -> None:
        self._say("starting the services ...")
        await_services(client, START_S)
        self.healthy = True
        self._summarise(client, ensure_model(client, self._choice, self._display, self._say, START_S))

    def _summarise(self, client: Client, job: MainJob) -> None:
        row = self._choice.first_test_row()
        answer = client.score([row], model=job.name)
        body = json.dumps({"rows": [row]}, ensure_ascii=False, default=str)
        url = f"{self._place.ctr_url}/v1/score"
        self._display.close()
        self._say(
            f"\nCTR service  {self._place.ctr_url}   (API: {self._place.ctr_url}/docs)\n"
            f"LLM service  {self._place.llm_url}   (API: {self._place.llm_url}/docs)\n"
            f"admin key    {self._place.key_file}\n"
            f"model        {answer.model}, champion {answer.version[:12]}\n\n{job.metrics_table()}\n\n"
            f"Try one row (it scores {answer.scores[0]:.4f}); Ctrl-C ends everything:\n"
            f"curl -s '{url}' -H 'Content-Type: application/json' -d {shlex.quote(body)}\n"
        )
        facts = {"ctr_url": self._place.ctr_url, "llm_url": self._place.llm_url, "model": answer.model}
        result({**facts, "version": answer.version, "score": answer.scores[0]}, self._as_json)

    def _say(self, text: str) -> None:
        if not self._left:
            self._display.say(text)


def _announce_end(display: Display, opening: _Opening) -> None:
    opening.leave()
    display.close()
    display.say("ending the services ...")
