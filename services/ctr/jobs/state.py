"""What a job remembers between attempts: one JSON file in its directory, always whole."""

import json
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from llactr_core.errors import ArtifactError
from llactr_core.files import write_atomic

FILE = "state.json"


class JobState(BaseModel):
    """The finished steps of a job. Each is set once its effect is durable; a set step is not done again."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    parent: str | None = None
    llm_job: str | None = None
    sampled: bool = False
    table_version: str | None = None
    bundle_version: str | None = None


class StateFile:
    """Reads and replaces the state of one job."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / FILE
        self.state = self._read()

    def set(self, **steps: str | bool | None) -> JobState:
        """Record finished steps; they are on the disk when this returns."""
        self.state = JobState.model_validate({**self.state.model_dump(), **steps})
        write_atomic(self._path, self.state.model_dump_json().encode())
        return self.state

    def _read(self) -> JobState:
        try:
            return JobState.model_validate(json.loads(self._path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return JobState()
        except (OSError, ValueError, ValidationError) as error:
            raise ArtifactError(f"the job's {self._path} is damaged ({error}); submit the job again") from error
