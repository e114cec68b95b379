"""The main job, through the services' HTTP API: schema -> field table -> trained models -> a promoted champion.

Every step is a durable job with an Idempotency-Key made of what is asked for: a main job that was broken off and is
started again finds the jobs of before and follows them.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from llactr_client import Client, Job, ModelVersion

from llactr_core.proof.readings import record_reading
from services.cli.console import CommandError, table
from services.cli.dataset_choice import DatasetChoice
from services.cli.display import Display

BACKBONE = "deepfm"
BACKBONE_TITLES = {
    "fm": "FM",
    "deepfm": "DeepFM",
    "fwfm": "FwFM",
    "fmfm": "FmFM",
    "finalmlp": "FinalMLP",
    "wukong": "WuKong",
}
MOST_ATTEMPTS = 20
METRICS = (("auc", "AUC"), ("logloss", "LogLoss"), ("ece", "ECE"))


@dataclass(frozen=True)
class MainJob:
    """What is to be done for one dataset.

    Args:
        client: of both services, with the admin key.
        choice: the dataset.
        model: the language model, None for the LLM service's own.
        display: shows the progress.
    """

    client: Client
    choice: DatasetChoice
    model: str | None
    display: Display

    @property
    def name(self) -> str:
        """The name of the schema and of the model."""
        return self.choice.schema.name

    def champion(self) -> ModelVersion | None:
        """The champion, if it was trained on this dataset and (where one is given) by this schema."""
        if all(model.name != self.name for model in self.client.models()):
            return None
        for version in self.client.model_versions(self.name):
            if "champion" in version.aliases:
                return version if self._is_ours(version.lineage) else None
        return None

    def run(self) -> None:
        """Do all of it; the champion answers when this returns.

        Raises:
            ClientError: a service refuses, is away for long, or a job fails.
            CommandError: the job has failed too often.
        """
        self._refresh_fields()
        record_reading(f"make run ({self.name}): plain and LLaCTR")
        # Both are queued at once: if this process is stopped after the first, the next start finds the second done.
        enhanced, plain = self._submit_training("llactr"), self._submit_training("none")
        self._follow(f"{BACKBONE_TITLES[BACKBONE]} + LLaCTR", enhanced)
        self._follow(f"{BACKBONE_TITLES[BACKBONE]}, plain", plain)

    def metrics_table(self) -> str:
        """Metrics of the champion beside those of the plain backbone, on validation and test."""
        versions = self.client.model_versions(self.name)
        champions = [version for version in versions if "champion" in version.aliases]
        plain = [v for v in versions if _is_plain(v) and "champion" not in v.aliases and self._is_ours(v.lineage)]
        rows = [
            (_title(version), part, *_numbers(version, part), version.version[:12])
            for part in ("valid", "test")
            for version in (*champions, *plain[:1])
        ]
        return table(("model", "part", *(title for _, title in METRICS), "version"), rows)

    def _refresh_fields(self) -> None:
        schema, dataset = self.choice.schema, str(self.choice.path)
        registered = self.client.register_schema(self.name, [field.model_dump(mode="json") for field in schema.fields])
        request = {"dataset": dataset, "model": self.model, "schema": registered.fingerprint}

        def submit(key: str) -> Job | None:
            answer = self.client.refresh_fields(self.name, dataset=dataset, model=self.model, idempotency_key=key)
            return answer.job

        job = _durable(_key("fields", request), submit)
        if job is not None:
            self._follow("field semantics", job)

    def _submit_training(self, enhancer: str) -> Job | None:
        schema = self.choice.schema.model_dump(mode="json", exclude_defaults=True)
        table_version = self.client.fields(self.name).version if enhancer == "llactr" else None
        request = {
            "dataset": str(self.choice.path),
            "digests": self.choice.digests(),
            "schema": schema,
            "enhancer": enhancer,
            "table_version": table_version,
        }

        def submit(key: str) -> Job:
            return self.client.train(
                self.name,
                str(self.choice.path),
                schema=schema,
                backbone=BACKBONE,
                enhancer=enhancer,
                table_version=table_version,
                promote=enhancer == "llactr",
                read_test=True,
                idempotency_key=key,
            )

        return _durable(_key(f"train-{enhancer}", request), submit)

    def _follow(self, title: str, job: Job | None) -> None:
        if job is not None:
            self.client.wait_for_job(job, self.display.job(title))

    def _is_ours(self, lineage: Mapping[str, object]) -> bool:
        if self.choice.schema_file is not None and lineage.get("schema_fingerprint") != self.choice.schema.fingerprint:
            return False
        if lineage.get("dataset") == str(self.choice.path):
            return True
        return bool(lineage.get("data_digest") == self.choice.digests())


def _durable(key: str, submit: Callable[[str], Job | None]) -> Job | None:
    """Submit under a key; where the job of that key has failed or was cancelled before, under the next key."""
    for attempt in range(MOST_ATTEMPTS):
        job = submit(f"{key}-{attempt}")
        if job is None or job.state not in ("failed", "cancelled"):
            return job
    raise CommandError(f"the same job has failed {MOST_ATTEMPTS} times; see `llactr jobs list` for the reasons")


def _key(kind: str, request: Mapping[str, object]) -> str:
    content = json.dumps(request, sort_keys=True, ensure_ascii=False)
    return f"up-{kind}-{hashlib.sha256(content.encode()).hexdigest()[:32]}"


def _is_plain(version: ModelVersion) -> bool:
    return version.lineage.get("enhancer") == "none"


def _title(version: ModelVersion) -> str:
    backbone = BACKBONE_TITLES.get(str(version.lineage.get("backbone")), str(version.lineage.get("backbone")))
    return f"{backbone}, plain" if _is_plain(version) else f"{backbone} + LLaCTR"


def _numbers(version: ModelVersion, part: str) -> list[str]:
    metrics = version.metrics.get(part)
    values = metrics if isinstance(metrics, dict) else {}
    found = [values.get(name) for name, _ in METRICS]
    return [f"{value:.4f}" if isinstance(value, int | float) else "-" for value in found]
