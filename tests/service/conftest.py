"""Fixtures of the service's tests."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import structlog

from service.history.in_process import InProcessHistory
from service.history.protocol import HistoryStore
from tests.service.serving import Running, running, settings_for


@pytest.fixture(scope="session", autouse=True)
def _quiet_and_unset() -> Iterator[None]:
    """Nothing in the environment may change a test's settings, and access logs would drown the results."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("error"))
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("DIMEREC_")]:
            patch.delenv(name)
        yield
    structlog.reset_defaults()


Serve = Callable[..., Running]


@pytest.fixture
def serve(bundle_root: Path) -> Iterator[Serve]:
    """Start servers that end with the test: `serve(history, bundles=…, **settings)`."""
    with ExitStack() as servers:

        def start(
            history: HistoryStore | None = None, *, bundles: Path = bundle_root, **settings: object
        ) -> Running:
            return servers.enter_context(running(settings_for(bundles, **settings), history))

        yield start


@pytest.fixture(scope="session")
def _shared_server(bundle_root: Path) -> Iterator[Running]:
    with running(settings_for(bundle_root), InProcessHistory()) as server:
        yield server


@pytest.fixture
def server(_shared_server: Running) -> Running:
    """A server with the in-process store, shared by tests that use users of their own."""
    return _shared_server
