"""A thousand requests (5,000 in the long run) drawn from the OpenAPI document: no 5xx, and answers as documented."""

from typing import Any

import pytest
from fuzzing import Fuzzer


@pytest.mark.timeout(600)
@pytest.mark.parametrize("requests_made", [250, pytest.param(5000, marks=pytest.mark.long)])
def test_no_request_breaks_the_service(house: Any, requests_made: int) -> None:
    """Half of the requests name a schema, a version and a job that exist; the jobs that they start are really done."""
    version = house.published("fuzzed")
    job = house.refresh("fuzzed", ssft={"skip": True, "seed": 5}).json()["job"]["id"]
    house.finished(job)
    known = {"schema": "fuzzed", "version": version, "alias": "current", "job_id": job}
    fuzzer = Fuzzer(house.url, house.key, known, left_out={"/v1/jobs/{job_id}/events"})
    fuzzer.run(requests_made)
    assert fuzzer.answers.total() >= requests_made
    assert fuzzer.answers[200] > requests_made // 10
    # Aliases were moved and versions deleted on the way; the service works as before.
    assert house.published("afterwards", ssft={"skip": True, "seed": 6}) != version
