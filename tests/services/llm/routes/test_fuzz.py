"""A thousand requests (5,000 in the long run) drawn from the OpenAPI document: no 5xx, and answers as documented."""

from collections import Counter
from contextlib import suppress
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi import checks

SESSION = requests.Session()  # one connection for all
CHECKS = [
    schemathesis.checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]
# A stream that goes on until its job ends is no answer to wait for.
STREAMS = {"/v1/jobs/{job_id}/events"}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("requests_made", [1000, pytest.param(5000, marks=pytest.mark.long)])
def test_no_request_breaks_the_service(house: Any, requests_made: int) -> None:
    """Half of the requests name a schema, a version and a job that exist; the jobs that they start are really done."""
    version = house.published("fuzzed")
    job = house.refresh("fuzzed", ssft={"skip": True, "seed": 5}).json()["job"]["id"]
    house.finished(job)
    known = {"schema": "fuzzed", "version": version, "alias": "current", "job_id": job}
    document = schemathesis.openapi.from_url(f"{house.url}/openapi.json")
    document.config.update(headers={"Authorization": f"Bearer {house.key}"})
    operations = [found.ok() for found in document.get_all_operations()]
    fuzzed = [operation for operation in operations if operation.path not in STREAMS]
    varied = [operation for operation in fuzzed if operation.body or list(operation.iter_parameters())]
    answers: Counter[int] = Counter()
    for operation in fuzzed:
        exercise(operation, GenerationMode.POSITIVE, known, requests_made // 17 if operation in varied else 1, answers)
    rounds = 0
    while answers.total() < requests_made and rounds < 10:
        rounds += 1
        for operation in varied:
            with suppress(Unsatisfiable):  # any text is valid where a path holds the only parameter
                exercise(operation, GenerationMode.NEGATIVE, known, requests_made // 50, answers, rounds)
    print(f"{answers.total()} requests to {len(fuzzed)} endpoints: {dict(sorted(answers.items()))}")
    assert answers.total() >= requests_made
    assert answers[200] > requests_made // 10
    SESSION.close()
    # Aliases were moved and versions deleted on the way; the service works as before.
    assert house.published("afterwards", ssft={"skip": True, "seed": 6}) != version


def exercise(
    operation: Any, mode: GenerationMode, known: dict[str, str], count: int, answers: Counter[int], number: int = 0
) -> None:
    """Send at most `count` different requests to one endpoint, and check every answer."""

    @seed(number)
    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode), named=st.booleans())
    def once(case: Any, named: bool) -> None:
        if named:
            case.path_parameters = {
                name: known.get(name, given) for name, given in (case.path_parameters or {}).items()
            }
        answer = case.call(session=SESSION)
        answers[answer.status_code] += 1
        case.validate_response(answer, checks=CHECKS)

    once()
