"""The thread of a worker that starts the refreshes whose time has come.

It submits jobs and does none itself, so a long training delays no schedule. Several workers may look at once: a
refresh is submitted under a key that names the schedule's state and its occasion, so two of them submit one job, and
a worker that is killed between the submission and its note is followed by one that finds the same job.
"""

import logging
import threading
from contextlib import ExitStack

from llactr_core.errors import LlactrError, NotFoundError, UnavailableError
from llactr_core.schema import Schema
from llactr_core.semantics.table import FieldTable
from services.ctr.jobs.llm import FieldSemantics, field_semantics
from services.ctr.metrics import SCHEDULE_RUNS
from services.ctr.payloads import RefreshPlan
from services.ctr.registry.records import ModelVersion
from services.ctr.registry.store import CHAMPION, Registry
from services.ctr.schedule.records import Schedule
from services.ctr.schedule.store import ScheduleStore
from services.ctr.settings import CtrSettings
from services.shared.jobs.calls import call_of
from services.shared.jobs.job import Job
from services.shared.jobs.store import JobStore

# Idempotency keys of this lane are the schedules' own: no model can have its name.
LANE = ":schedules"
BY = "schedule"
CLOSE_S = 2.0

logger = logging.getLogger(__name__)


class Scheduler:
    """Looks at the schedules every `schedule_poll_s` seconds."""

    def __init__(self, schedules: ScheduleStore, registry: Registry, jobs: JobStore, settings: CtrSettings) -> None:
        self._schedules = schedules
        self._registry = registry
        self._jobs = jobs
        self._settings = settings
        self._connection = ExitStack()
        self._semantics: FieldSemantics | None = None
        self._said: dict[str, str] = {}
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="schedules", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def close(self) -> None:
        """End; a question to the LLM service that is under way is not waited for."""
        self._closed.set()
        if self._thread.is_alive():
            self._thread.join(CLOSE_S)
        if not self._thread.is_alive():
            self._disconnect()

    def look(self) -> None:
        """Start what is due, once. What goes wrong is logged when it begins, and tried again with the next look."""
        try:
            schedules = self._schedules.all()
        except UnavailableError as error:
            self._say("the storage", error.detail)
            return
        self._said.pop("the storage", None)
        for schedule in sorted(schedules, key=lambda one: not one.is_due):
            try:
                self._start_due(schedule)
            except LlactrError as error:
                self._disconnect()
                self._say(f"model {schedule.model!r}", error.detail)
                if isinstance(error, UnavailableError):
                    return  # the others would wait for the same service, one after the other
            except Exception:
                logger.exception("the schedule of model %r failed; the others go on", schedule.model)
            else:
                self._said.pop(f"model {schedule.model!r}", None)

    def _run(self) -> None:
        while not self._closed.wait(self._settings.schedule_poll_s):
            try:
                self.look()
            except Exception:
                logger.exception("looking at the schedules failed")

    def _start_due(self, schedule: Schedule) -> None:
        if schedule.is_due:
            job = self._submit(schedule, f"{schedule.next_at!r}", schedule.plan)
            if self._schedules.advance(schedule, job.id if job else None):
                _count(schedule, job)
        elif schedule.on_new_table:
            table = self._new_table(schedule)
            if table is None:
                return
            plan = schedule.plan.model_copy(update={"table_version": table, "llm": None, "ssft": {}})
            job = self._submit(schedule, table, plan)
            if job is not None and self._schedules.tried(schedule, table, job.id):
                _count(schedule, job)

    def _submit(self, schedule: Schedule, occasion: str, plan: RefreshPlan) -> Job | None:
        """The job of this occasion, or None while another refresh of the model waits or runs."""
        asked = plan.model_dump(mode="json")
        call = call_of(f"{schedule.model}/{schedule.updated_at!r}/{occasion}", LANE, "refresh", asked)
        is_refreshing = self._schedules.is_refreshing(schedule.model)
        known = self._jobs.known(call)  # asked second: what refreshes may be the job that another worker just submitted
        if known is not None or is_refreshing:
            return known
        payload = {"model": schedule.model, "request": asked, "by": BY}
        return self._jobs.submit("refresh", payload, call, lane=schedule.model)

    def _new_table(self, schedule: Schedule) -> str | None:
        """The LLM service's current field table, where it is of the champion's fields and none was tried with it."""
        try:
            champion = self._registry.get(schedule.model, CHAMPION)
        except NotFoundError:
            return None
        if not champion.lineage.has_semantics:
            return None
        table = self._current(champion)
        if table is None or table.version in (champion.lineage.table_version, schedule.tried_table):
            return None
        if tuple(table.fields) != Schema.parse(champion.lineage.data_schema).names:
            return None
        return None if self._was_tried(schedule.model, table.version) else table.version

    def _current(self, champion: ModelVersion) -> FieldTable | None:
        if self._semantics is None:
            self._semantics = self._connection.enter_context(field_semantics(self._settings))
        lineage = champion.lineage
        try:
            return self._semantics.table(lineage.field_schema or str(lineage.data_schema["name"]), "current")
        except NotFoundError:
            return None

    def _was_tried(self, model: str, table: str) -> bool:
        """Whether a refresh has made a version with this table, promoted or refused."""
        made = (version.lineage for version in self._registry.versions(model))
        return any(lineage.table_version == table and lineage.parent is not None for lineage in made)

    def _disconnect(self) -> None:
        self._connection.close()
        self._semantics = None

    def _say(self, about: str, detail: str) -> None:
        if self._said.get(about) != detail:
            self._said[about] = detail
            logger.warning("schedules, %s: %s", about, detail)


def _count(schedule: Schedule, job: Job | None) -> None:
    SCHEDULE_RUNS.labels("skipped" if job is None else "submitted").inc()
    if job is None:
        logger.info("model %r: the scheduled refresh is skipped, another one is at work", schedule.model)
    else:
        logger.info("model %r: the schedule has submitted job %s", schedule.model, job.id)
