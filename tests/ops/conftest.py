"""Fixtures of the operations tests."""

from collections.abc import Iterator

import pytest
import structlog


@pytest.fixture(scope="session", autouse=True)
def _quiet() -> Iterator[None]:
    """Access logs would drown the results."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("error"))
    yield
    structlog.reset_defaults()
