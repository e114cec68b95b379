"""Fields that a schema was given later: queued only where there is work, by the table's own model, and never lost."""

import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llactr_core.errors import ArtifactError
from llactr_core.schema import Field, Schema
from llactr_core.semantics.options import SsftOptions
from services.llm.engines.transformers import TransformersEngine
from services.llm.jobs import extension, request
from services.llm.jobs.extension import extension_handler, submit_extension
from services.llm.jobs.refresh import refresh_handler
from services.llm.jobs.request import RefreshPayload
from services.llm.schema_store import SchemaStore
from services.llm.settings import LlmSettings
from services.llm.tables.store import TableStore
from services.shared.jobs.context import Handler, JobContext
from services.shared.jobs.job import Job
from services.shared.jobs.store import JobStore
from services.shared.storage.storage import Storage, migrate

OLD = Schema(name="s", fields=(Field(name="colour"), Field(name="count")))
GROWN = OLD.model_copy(update={"fields": (*OLD.fields, Field(name="device"))})


class Shop:
    """The stores, and a worker that does the next job when it is told to."""

    def __init__(self, home: Path, model: Path) -> None:
        self.settings = LlmSettings(home=home, model=str(model))
        self.storage = Storage(self.settings.storage_url)
        migrate(self.storage, "services.llm")
        self.tables, self.schemas = TableStore(self.storage, self.settings), SchemaStore(self.storage)
        self.jobs, self.engine = JobStore(self.storage), TransformersEngine(str(model), 1, "cpu")
        self.handlers = {
            request.KIND: self.refreshing(self.jobs),
            extension.KIND: extension_handler(self.tables, self.engine),
        }

    def refreshing(self, jobs: JobStore) -> Handler:
        return refresh_handler(self.tables, self.engine, self.settings, self.schemas, jobs)

    def ask(self, schema: Schema) -> None:
        payload = RefreshPayload(
            content=schema, samples={}, dataset=None, model=self.settings.model, ssft=SsftOptions(skip=True)
        )
        self.jobs.submit(request.KIND, payload.dump(), lane=schema.name)

    def work(self, times: int = 1) -> list[tuple[str, dict[str, Any]]]:
        """Do the next job, or begin it several times as after kills: its kind, and each result."""
        job = self.jobs.claim("worker", 60, tuple(self.handlers))
        assert job is not None
        results = [self.attempt(job) for _ in range(times)]
        self.jobs.succeed(job.id, results[-1], owner=job.owner)
        return [(job.kind, result) for result in results]

    def attempt(self, job: Job) -> dict[str, Any]:
        context = JobContext(self.jobs, job, self.settings.home / "jobs" / job.id)
        context.trust_until(math.inf)
        return self.handlers[job.kind](context)

    @property
    def fields(self) -> tuple[str, ...]:
        return self.tables.read(self.tables.info("s")).table.fields


@pytest.fixture
def model(tiny_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_model, tmp_path / "model"))


@pytest.fixture
def shop(tmp_path: Path, model: Path) -> Shop:
    opened = Shop(tmp_path / "home", model)
    opened.schemas.register(OLD)
    opened.ask(OLD)
    opened.work()
    return opened


def test_a_field_registered_before_a_refresh_ends_is_added_after_it(shop: Shop) -> None:
    shop.schemas.register(GROWN)
    for _ in range(2):  # the table of the old schema is there already: both refreshes point `current` back at it
        shop.ask(OLD)
        [(_, refreshed)] = shop.work()
        assert refreshed["reused"] is True
        assert shop.fields == OLD.names
        [(kind, extended)] = shop.work()
        assert (kind, extended["extended"], shop.fields) == ("extend", ["device"], GROWN.names)


def test_a_field_registered_before_the_first_table_is_added_to_it(tmp_path: Path, model: Path) -> None:
    shop = Shop(tmp_path / "home", model)
    shop.ask(OLD)
    shop.schemas.register(GROWN)
    assert submit_extension(GROWN, shop.tables, shop.jobs) is None, "there is no table yet"
    [(_, refreshed)] = shop.work()
    assert refreshed["reused"] is False
    shop.work()
    assert shop.fields == GROWN.names


def test_a_full_queue_does_not_fail_the_refresh(shop: Shop) -> None:
    shop.handlers[request.KIND] = shop.refreshing(JobStore(shop.storage, 1))
    shop.schemas.register(GROWN)
    shop.ask(OLD)
    job = shop.jobs.claim("worker", 60, (request.KIND,))
    assert job is not None
    shop.ask(GROWN)
    assert shop.attempt(job)["reused"] is True


@pytest.mark.parametrize("fields", [OLD.fields[:1], OLD.fields[::-1]], ids=["one less", "another order"])
def test_nothing_is_queued_where_nothing_is_missing(shop: Shop, fields: tuple[Field, ...]) -> None:
    assert submit_extension(OLD.model_copy(update={"fields": fields}), shop.tables, shop.jobs) is None


def test_a_table_that_cannot_be_read_queues_the_job(shop: Shop) -> None:
    shutil.rmtree(shop.settings.state / "artifacts" / "tables")
    fresh = TableStore(shop.storage, shop.settings)
    assert submit_extension(GROWN, fresh, shop.jobs) is not None


def test_killed_after_the_publication_it_still_tells_what_it_added(shop: Shop) -> None:
    submit_extension(GROWN, shop.tables, shop.jobs)
    [(_, first), (_, again)] = shop.work(times=2)
    assert first == again
    assert again["extended"] == ["device"]


def _other_weights(model: Path) -> None:
    with (model / "model.safetensors").open("r+b") as file:
        file.seek(-4, 2)
        file.write(b"\x01\x02\x03\x3c")


def _other_template(model: Path) -> None:
    (model / "1_Pooling").mkdir()
    (model / "1_Pooling" / "config.json").write_text('{"pooling_mode_cls_token": true}')


@pytest.mark.parametrize("change", [_other_weights, _other_template])
def test_another_model_than_the_table_was_made_with_is_refused(shop: Shop, change: Callable[[Path], None]) -> None:
    change(Path(shop.settings.model))
    submit_extension(GROWN, shop.tables, shop.jobs)
    with pytest.raises(ArtifactError, match="refresh the fields"):
        shop.work()
    assert shop.fields == OLD.names
