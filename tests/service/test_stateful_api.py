"""Sequences of calls, each made of earlier answers as the OpenAPI document lets one guess.

An item that was put is read, removed and put again.
"""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from hypothesis.errors import FlakyStrategyDefinition
from schemathesis import Case
from schemathesis.specs.openapi.checks import ignored_auth

from tests.effort import examples
from tests.factories import publish_tiny_bundle
from tests.service.serving import AUTHORIZED, Running, running, settings_for
from tests.service.test_openapi import NOT_IN_THE_SCHEMA


@pytest.fixture(scope="module")
def changing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server whose catalogue and users these calls may change."""
    root = tmp_path_factory.mktemp("changing")
    publish_tiny_bundle(root)
    with running(settings_for(root)) as server:
        yield server


@pytest.mark.hypothesis
def test_calls_that_follow_from_answers_are_answered_as_the_document_says(changing: Running) -> None:
    schema = schemathesis.openapi.from_url(f"{changing.url}/openapi.json")
    schema.config.generation.update(with_security_parameters=False)
    machine: Any = schema.as_state_machine()
    answered: set[str] = set()
    faults: list[BaseException] = []

    class Calls(machine):  # type: ignore[misc]
        def get_call_kwargs(self, case: Case[Any]) -> dict[str, Any]:
            return {"headers": AUTHORIZED, "timeout": 30}

        def validate_response(self, response: requests.Response, case: Case[Any], **_: Any) -> None:
            unwanted = {ignored_auth, *NOT_IN_THE_SCHEMA.get(case.operation.label, [])}
            try:
                case.validate_response(response, excluded_checks=list(unwanted), headers=AUTHORIZED)
            except BaseException as fault:
                faults.append(fault)  # or repeating the calls, which may go otherwise, would hide it
                raise
            if response.status_code == 200:
                answered.add(case.operation.label)

    chosen = settings(
        max_examples=examples(5),
        stateful_step_count=10,
        derandomize=True,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    for _ in range(3):
        # Which calls may follow depends on what the service has by then; those that were made are checked.
        with suppress(FlakyStrategyDefinition):
            Calls.run(settings=chosen)
            break
    assert not faults
    assert "POST /items" in answered
    assert len(answered) > 1
