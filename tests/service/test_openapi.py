"""The OpenAPI document is complete, and the service keeps to it whatever is generated from it."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import Case, CheckFunction, GenerationMode
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    ignored_auth,
    negative_data_rejection,
    positive_data_acceptance,
)

from service.access.roles import ANONYMOUS, ROLES
from service.requests import MAX_STEPS
from tests.effort import examples
from tests.factories import publish_tiny_bundle
from tests.service.serving import AUTHORIZED, Running, running, settings_for

METHODS = ("get", "post", "put", "delete", "patch")


OPERATIONS = (
    "POST /recommend",
    "POST /recommend/batch",
    "POST /events",
    "GET /users",
    "GET /users/{user_id}/history",
    "DELETE /users/{user_id}/history",
    "DELETE /users/{user_id}/events/{event_id}",
    "GET /items/{item_id}/similar",
    "PUT /items/{item_id}",
    "DELETE /items/{item_id}",
    "GET /items/{item_id}",
    "POST /items",
    "GET /items",
    "GET /catalogue",
    "POST /catalogue",
    "GET /health/live",
    "GET /health/ready",
    "GET /metrics",
    "GET /version",
    "POST /admin/reload",
    "POST /admin/rollback",
    "POST /catalogue/compact",
)

OPEN = {label for label in OPERATIONS if ROLES[label] in (None, *ANONYMOUS)}
"""Of which a caller on this machine needs no key."""

NOT_IN_THE_SCHEMA: dict[str, list[CheckFunction]] = {
    "POST /recommend/batch": [negative_data_rejection],  # a bad entry does not fail the batch
    "POST /admin/reload": [ignored_auth],  # our key goes with its calls without one, too
    "POST /admin/rollback": [ignored_auth],
    "PUT /items/{item_id}": [ignored_auth, positive_data_acceptance],  # whose ids does a model know?
    "DELETE /items/{item_id}": [ignored_auth],
    "GET /items/{item_id}": [ignored_auth],
    "POST /items": [ignored_auth, negative_data_rejection],
    "GET /items": [ignored_auth],
    "GET /catalogue": [ignored_auth],
    "POST /catalogue/compact": [ignored_auth],
    "POST /catalogue": [ignored_auth, positive_data_acceptance],  # descriptions and origins are not detailed
    "POST /events": [positive_data_acceptance],  # the latest timestamp depends on the clock
}


@pytest.fixture(scope="module")
def capable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server whose model takes as many steps as the contract allows, and whose bundle offers novelty."""
    root = tmp_path_factory.mktemp("capable")
    publish_tiny_bundle(root, timesteps=MAX_STEPS, novelty=0.3)
    with running(settings_for(root)) as server:
        yield server


@pytest.mark.hypothesis
@pytest.mark.parametrize(
    ("label", "mode"),
    [
        *((label, GenerationMode.POSITIVE) for label in OPERATIONS),
        *((label, GenerationMode.NEGATIVE) for label in OPERATIONS[: OPERATIONS.index("GET /health/live")]),
    ],
)
def test_whatever_is_generated_from_the_document_is_answered_as_it_says(
    capable: Running, label: str, mode: GenerationMode
) -> None:
    schema = schemathesis.openapi.from_url(f"{capable.url}/openapi.json")
    schema.config.generation.update(with_security_parameters=False)  # the key is ours
    refusals = schema.config.checks.negative_data_rejection
    refusals.expected_statuses = [*refusals.expected_statuses, "413"]  # a negated body may be large
    described = [found.ok().label for found in schema.get_all_operations() if isinstance(found, Ok)]
    assert sorted(described) == sorted(OPERATIONS)
    operation = schema.find_operation_by_label(label)
    assert operation is not None
    headers = {} if label in OPEN else AUTHORIZED
    unwanted = NOT_IN_THE_SCHEMA.get(label, [])

    # The generator itself recurses without end in about one of a hundred negations of nested filters.
    nested = label == "POST /recommend/batch" and mode is GenerationMode.NEGATIVE

    @settings(
        max_examples=20 if nested else examples(20),
        derandomize=True,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def keeps_to_the_document(case: Case[Any]) -> None:
        if mode is GenerationMode.POSITIVE and isinstance(case.body, dict):
            case.body.pop("deadline_ms", None)  # a short one may rightly be refused
            case.body.pop("where", None)  # whose attributes does a bundle have?
        if mode is GenerationMode.POSITIVE:
            case.query.pop("where", None)
        case.call_and_validate(headers=headers, timeout=30, excluded_checks=unwanted)

    keeps_to_the_document()


def test_every_operation_describes_its_errors_as_problems(server: Running) -> None:
    document: dict[str, Any] = server.client.get("/openapi.json").json()
    for path, operations in document["paths"].items():
        for method in METHODS:
            operation = operations.get(method)
            if operation is None:
                continue
            assert operation["summary"], path
            assert operation["description"], path
            for status, response in operation["responses"].items():
                assert response["description"], (path, status)
                assert "Error" not in response["description"], (path, status)
                if int(status) >= 400:
                    assert list(response["content"]) == ["application/problem+json"], (path, status)
            if "requestBody" in operation:
                assert {"400", "413", "415", "422"} <= set(operation["responses"]), path


def test_every_field_that_callers_see_has_an_example_or_a_description(server: Running) -> None:
    schemas: dict[str, Any] = server.client.get("/openapi.json").json()["components"]["schemas"]
    for name, schema in schemas.items():
        assert schema["description"], name
        for field, described in schema["properties"].items():
            assert {"description", "examples", "$ref"} & set(described), (name, field)


def test_what_the_document_refers_to_is_there(server: Running) -> None:
    document = server.client.get("/openapi.json")
    referred = set(re.findall(r'"#/components/schemas/(\w+)"', document.text))
    assert referred <= set(document.json()["components"]["schemas"])


def test_nothing_in_the_document_is_fetched_from_elsewhere(server: Running) -> None:
    for path in ("/docs", "/redoc"):
        assert server.client.get(path).status_code == 404
