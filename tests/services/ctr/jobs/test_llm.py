"""The worker's talk with the LLM service: what belongs to the trace of the job."""

from typing import Any

import pytest
from pydantic import SecretStr

from llactr_core.errors import OptionError
from services.ctr.jobs.llm import TuningRequest, field_semantics
from services.ctr.settings import CtrSettings
from services.shared.telemetry.traces import JobTrace

GIVEN = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_the_tuning_belongs_to_the_jobs_trace_and_its_polls_do_not(llm: Any, work_settings: CtrSettings) -> None:
    trace = JobTrace("refresh", "one", 1, GIVEN)
    token = trace.enter()
    with field_semantics(work_settings) as semantics:
        job_id, _ = semantics.start(TuningRequest("tiny", None, {"a": ["x"]}, None), "key")
        semantics.cancel(job_id or "")
        trace.leave(token)
        semantics.start(TuningRequest("tiny", None, {"a": ["x"]}, None), "another")
    assert llm.traces == [("POST", GIVEN), ("DELETE", GIVEN), ("POST", None)]


def test_a_key_that_can_be_none_is_refused_unrepeated(work_settings: CtrSettings) -> None:
    broken = work_settings.model_copy(update={"llm_key": SecretStr("first\nsecond")})
    with pytest.raises(OptionError, match="LLACTR_CTR_LLM_KEY") as caught, field_semantics(broken):
        pass
    assert "second" not in str(caught.value)
