"""A tuning in this process, or shared by several processes of this machine."""

import multiprocessing
import os
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from llactr_core.errors import LlactrError, OptionError
from llactr_core.progress import Progress, ProgressCallback, silent
from llactr_core.schema import Schema
from llactr_core.semantics.encoder import TextEncoder, choose_device
from llactr_core.semantics.options import SsftOptions
from llactr_core.semantics.tuning.ssft import Tuned, tune, tunes_in_bfloat16
from llactr_core.semantics.tuning.team import ALONE, Team

_END_WITHIN_S = 5.0
_GO_ON = "go on"


def run_tuning(
    model: str,
    schema: Schema,
    samples: Mapping[str, Sequence[str]],
    options: SsftOptions,
    progress: ProgressCallback = silent,
    checkpoint: Path | None = None,
    recipe: str = "",
) -> Tuned:
    """Load the model as tuning needs it, tune it as `ssft.tune` does, and let go of it.

    On a GPU that tunes in bfloat16 the frozen weights are held in bfloat16. With `options.processes` > 1 that many
    processes are started, one per GPU or all on the CPU; what `progress` raises ends every one of them, and so does
    the end of this process.

    Raises:
        NotFoundError, ArtifactError: the model is not here, or damaged.
        OptionError, DataError: as `ssft.tune`; or there are fewer GPUs, or CPU cores, than processes.
        LlactrError: one of the processes broke down.
    """
    task = _Task(model, schema, samples, options, checkpoint, recipe)
    if options.processes == 1:
        return _tune(task, progress, ALONE)
    _check_room(options)
    with tempfile.TemporaryDirectory(prefix="llactr-tuning-") as folder:
        return _Launch(task, Path(folder) / "meeting").result(progress)


@dataclass(frozen=True)
class _Task:
    """What every process of a tuning is given."""

    model: str
    schema: Schema
    samples: Mapping[str, Sequence[str]]
    options: SsftOptions
    checkpoint: Path | None
    recipe: str


@dataclass(frozen=True)
class _Done:
    """A `Tuned` on its way between processes: NumPy arrays travel as bytes, tensors as shared memory."""

    adapter: dict[str, npt.NDArray[np.float32]]
    targets: tuple[str, ...]
    metrics: dict[str, object]


def _tune(task: _Task, progress: ProgressCallback, team: Team) -> Tuned:
    options = task.options
    device = choose_device(options.device)
    halved = device.type == "cuda" and tunes_in_bfloat16(options, device)
    encoder = TextEncoder.load(task.model, device=options.device, weights=torch.bfloat16 if halved else torch.float32)
    return tune(encoder, task.schema, task.samples, options, progress, task.checkpoint, task.recipe, team)


def _check_room(options: SsftOptions) -> None:
    gpu = choose_device(options.device).type == "cuda"
    room = torch.cuda.device_count() if gpu else os.cpu_count() or 1
    if options.processes > room:
        raise OptionError(
            f"processes: {options.processes} were asked for, but this machine has {room} "
            f"{'GPUs' if gpu else 'CPU cores'}; give at most {room}",
            field="processes",
        )


class _Launch:
    """The processes of one tuning, as their parent sees them: a pipe each, over which they report."""

    def __init__(self, task: _Task, meeting_file: Path) -> None:
        self._task, self._meeting_file = task, meeting_file
        self._processes: list[SpawnProcess] = []
        self._pipes: dict[Connection, int] = {}

    def result(self, progress: ProgressCallback) -> Tuned:
        """Start them, pass the leader's reports on until the tuning is done; however that ends, no process is left."""
        done: _Done | None = None
        try:
            self._start()
            while self._pipes:
                for pipe in wait(list(self._pipes)):
                    if isinstance(pipe, Connection):
                        done = self._hear(pipe, progress) or done
        finally:
            self._end()
        if done is None:
            raise LlactrError("the processes of the tuning ended without a result; try again, or with processes: 1")
        adapter = {name: torch.from_numpy(value.copy()) for name, value in done.adapter.items()}
        return Tuned(adapter, done.targets, done.metrics)

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        count = self._task.options.processes
        threads = max(1, torch.get_num_threads() // count)
        for index in range(count):
            ours, theirs = context.Pipe()
            process = context.Process(
                target=_member, args=(self._task, index, self._meeting_file, threads, theirs), daemon=True
            )
            process.start()
            theirs.close()
            self._processes.append(process)
            self._pipes[ours] = index

    def _hear(self, pipe: Connection, progress: ProgressCallback) -> _Done | None:
        """Take one message: a report is answered, an error raised, the last word returned."""
        try:
            message = pipe.recv()
            if isinstance(message, Progress):
                progress(message)
                pipe.send(_GO_ON)
                return None
        except (EOFError, BrokenPipeError, ConnectionResetError) as error:
            raise LlactrError(
                f"process {self._pipes[pipe]} of the tuning broke down, perhaps for lack of memory (its last words "
                "are on the standard error stream); try a smaller batch_size, or fewer processes"
            ) from error
        if isinstance(message, LlactrError):
            raise message
        del self._pipes[pipe]
        return message if isinstance(message, _Done) else None

    def _end(self) -> None:
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.join(_END_WITHIN_S)
            if process.is_alive():
                process.kill()
                process.join()


def _member(task: _Task, index: int, meeting_file: Path, threads: int, pipe: Connection) -> None:
    """One process of the team, from start to end."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ["OMP_NUM_THREADS"] = str(threads)
    torch.set_num_threads(threads)

    def report(progress: Progress) -> None:
        pipe.send(progress)
        pipe.recv()  # _GO_ON; anything else the parent says by ending this process

    try:
        gpu = choose_device(task.options.device).type == "cuda"
        team = Team.join(index, task.options.processes, meeting_file, gpu=gpu)
        tuned = _tune(task, report, team)
        team.leave()
    except LlactrError as error:
        pipe.send(error)
        return
    adapter = {name: value.numpy() for name, value in tuned.adapter.items()}
    pipe.send(_Done(adapter, tuned.targets, tuned.metrics) if team.leads else None)


def _end_with_parent() -> None:
    """A parent killed with -9 ends nobody: without this its processes would keep the GPUs."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
