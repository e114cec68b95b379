"""Requests drawn from an OpenAPI document, and the answers held against it."""

from collections import Counter
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi import checks

CHECKS = [
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]
ROUNDS = 10


@dataclass
class Fuzzer:
    """Half of the requests name things that exist (`known`, by parameter); counts the answers by status.

    Args:
        url: where the service answers.
        key: the bearer key of every request.
        known: the values of parameters that name what exists.
        left_out: paths that are not asked, such as streams that go on until their job ends.
        late: statuses from 500 on that the service may answer by its rules.
    """

    url: str
    key: str
    known: Mapping[str, str]
    left_out: Collection[str] = ()
    late: Collection[int] = ()
    answers: Counter[int] = field(default_factory=Counter)

    def run(self, count: int) -> None:
        """Send valid requests to every endpoint, then broken ones, `count` or a few more; every answer is checked."""
        document = schemathesis.openapi.from_url(f"{self.url}/openapi.json")
        document.config.update(headers={"Authorization": f"Bearer {self.key}"})
        operations = [found.ok() for found in document.get_all_operations()]
        asked = [operation for operation in operations if operation.path not in self.left_out]
        varied = [operation for operation in asked if operation.body or list(operation.iter_parameters())]
        with requests.Session() as session:  # one connection for all
            for operation in asked:
                many = max(1, count // len(varied)) if operation in varied else 1
                self._exercise(session, operation, GenerationMode.POSITIVE, many)
            for number in range(1, ROUNDS + 1):
                for operation in varied:
                    if self.answers.total() < count:
                        with suppress(Unsatisfiable):  # any text is valid where a path holds the only parameter
                            many = max(1, count // (3 * len(varied)))
                            self._exercise(session, operation, GenerationMode.NEGATIVE, many, number)
        print(f"{self.answers.total()} requests to {len(asked)} endpoints: {dict(sorted(self.answers.items()))}")

    def _exercise(
        self, session: requests.Session, operation: Any, mode: GenerationMode, count: int, number: int = 0
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
                for given_values in (case.path_parameters, case.query):
                    for name in (given_values or {}).keys() & self.known.keys():
                        given_values[name] = self.known[name]
            answer = case.call(session=session)
            self.answers[answer.status_code] += 1
            assert answer.status_code < 500 or answer.status_code in self.late, (case, answer.text)
            case.validate_response(answer, checks=CHECKS)

        once()
