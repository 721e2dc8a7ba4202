"""Fixtures of the service's tests."""

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from bundle.read import read_bundle
from service.history.in_process import InProcessHistory
from service.history.protocol import HistoryStore
from tests.service.gated import GatedEngine, until
from tests.service.serving import Running, running, settings_for


@pytest.fixture(scope="session", autouse=True)
def _unset() -> Iterator[None]:
    """Nothing in the environment may change a test's settings."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("DIMEREC_")]:
            patch.delenv(name)
        yield


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


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    GatedEngine.gate = threading.Event()
    yield GatedEngine.gate
    GatedEngine.gate.set()


@pytest.fixture
def busy(serve: Serve, gate: threading.Event) -> Iterator[Callable[..., Running]]:
    """Start a server whose engine is occupied with one request until the gate opens."""
    with ThreadPoolExecutor(64) as callers:

        def start(**settings: object) -> Running:
            server = serve(**settings)
            server.service.engines.engine = GatedEngine(
                read_bundle(server.service.settings.bundles), max_steps=50
            )
            callers.submit(server.recommend, history=["1001"])
            until(lambda: server.metric("dimerec_batch_size_count") == 1)
            return server

        yield start
        gate.set()
