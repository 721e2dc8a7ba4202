"""The console's fixtures: a real Chromium, and services for it."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode
from uuid import uuid4

import pytest
from playwright.sync_api import Browser, Page, ViewportSize, expect, sync_playwright

from bundle.write import publish
from index.catalogue import Catalogue
from service.history.in_process import InProcessHistory
from tests.factories import make_index, make_model, make_serving
from tests.service.console.reading import HOSTILE, LONG, PATIENCE_MS, Open
from tests.service.serving import Running, running, settings_for

STEADY_CHROMIUM = Path(__file__).with_name("steady_chromium.py")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="session")
def _writing_server(bundle_root: Path) -> Iterator[Running]:
    with running(settings_for(bundle_root, console_writes=True), InProcessHistory()) as server:
        yield server


@pytest.fixture
def server(_writing_server: Running) -> Running:
    """A server whose console may write, shared by tests that use users of their own."""
    return _writing_server


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One Chromium for this module: Playwright occupies the event loop of its thread, which others need."""
    if shutil.which("chromium") is None:
        pytest.skip("no Chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=STEADY_CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def hostile_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose first titles and categories try to be markup, or to be wider than any screen."""
    root = tmp_path_factory.mktemp("bundles")
    model = make_model(60)
    rows = range(1, 61)
    catalogue = Catalogue(
        item_ids=[f"{HOSTILE}{row}" if row == 1 else str(row) for row in rows],
        titles=[{1: HOSTILE, 2: LONG, 3: None}.get(row, f"Video {row}") for row in rows],
        categories=[(HOSTILE,) if row == 1 else ("Drama", f"Category {row % 7}") for row in rows],
        popularity=list(rows),
    )
    publish(
        root, model, catalogue, make_index(model), serving=make_serving(), metrics={}, data_fingerprint="x"
    )
    return root


@pytest.fixture
def open_console(browser: Browser) -> Iterator[Open]:
    """Open the console; whatever the test does, nothing may fail in the page or be asked of another host."""
    troubles: list[str] = []
    pages: list[Page] = []

    def open_page(
        server: Running,
        user: str = "",
        scheme: str = "light",
        width: int = 1440,
        trouble: bool = False,
        **settings: object,
    ) -> Page:
        context = browser.new_context(
            color_scheme="dark" if scheme == "dark" else "light",
            viewport=ViewportSize(width=width, height=900),
            locale="en-GB",
        )
        context.set_default_timeout(PATIENCE_MS)
        page = context.new_page()
        pages.append(page)
        if not trouble:
            page.on(
                "console", lambda message: troubles.append(message.text) if message.type == "error" else None
            )
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on(
            "request",
            lambda request: None if request.url.startswith(server.url) else troubles.append(request.url),
        )
        chosen = f"#{urlencode({'user': user, **settings})}" if user or settings else ""
        page.goto(f"{server.url}/{chosen}")
        return page

    expect.set_options(timeout=PATIENCE_MS)
    yield open_page
    for page in pages:
        page.context.close()
    assert troubles == []


@pytest.fixture
def viewer(server: Running) -> str:
    """A user with a history of three videos, the newest last."""
    user = f"viewer {uuid4().hex}"
    server.watch(user, "1005", "1017", "1123")
    return user
