"""The console where the service asks for a key."""

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from service.access import guard
from service.access.roles import Role
from tests.service.conftest import Serve
from tests.service.console.reading import Open, shown
from tests.service.serving import KEY, Running, write_keys

pytestmark = pytest.mark.browser


@pytest.fixture
def server(serve: Serve) -> Running:
    """A server that lets nobody in without a key."""
    return serve(allow_anonymous=False, console_writes=True)


def give(page: Page, key: str) -> None:
    page.get_by_label("Key", exact=True).fill(key)
    page.get_by_role("button", name="Use it").click()


def everywhere(page: Page) -> str:
    """All that a page shows or keeps outside of the tab's own storage."""
    kept: str = page.evaluate(
        "JSON.stringify([location.href, history.state, {...localStorage}, document.cookie])"
    )
    return kept + page.content()


def test_it_asks_for_a_key_and_keeps_it_for_the_tab_alone(server: Running, open_console: Open) -> None:
    sent: list[str] = []
    page = open_console(server, "somebody", trouble=True)
    page.on("request", lambda request: sent.append(request.url))
    expect(page.get_by_role("dialog")).to_contain_text("A key is needed")
    give(page, KEY)
    page.locator(".item").first.wait_for()
    assert len(shown(page)) == 10
    expect(page.locator("#curl")).to_contain_text("$DIMEREC_KEY")
    assert KEY not in everywhere(page)
    page.reload()
    page.locator(".item").first.wait_for()
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert page.evaluate("Object.values(sessionStorage)") == [KEY]
    assert not any(KEY in url for url in sent)
    other = page.context.new_page()
    other.goto(f"{server.url}/")
    expect(other.get_by_role("dialog")).to_be_visible()


def test_a_wrong_key_is_asked_for_again(
    server: Running, open_console: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "DELAY_S", 0.01)
    page = open_console(server, "somebody", trouble=True)
    give(page, "wrong")
    expect(page.get_by_role("dialog")).to_contain_text("The key is not known")
    give(page, KEY)
    page.locator(".item").first.wait_for()


def test_without_a_key_the_page_says_what_is_missing(server: Running, open_console: Open) -> None:
    page = open_console(server, "somebody", trouble=True)
    page.get_by_role("dialog").press("Escape")
    expect(page.locator("#problem-title")).to_have_text("A key is needed")
    page.get_by_role("button", name="Try again").click()
    give(page, KEY)
    page.locator(".item").first.wait_for()


def test_another_key_takes_the_place_of_the_kept_one(
    serve: Serve, open_console: Open, tmp_path: Path
) -> None:
    keys = tmp_path / "keys.json"
    write_keys(keys, reader=("dimerec_reader", Role.READ), both=("dimerec_both", Role.READ, Role.USERS))
    page = open_console(serve(allow_anonymous=False, keys_file=keys), "somebody", trouble=True)
    give(page, "dimerec_reader")
    page.locator(".item").first.wait_for()
    expect(page.locator("#history")).to_contain_text("lacks the role users")
    page.get_by_role("button", name="Key", exact=True).click()
    give(page, "dimerec_both")
    expect(page.locator("#history-count")).to_have_text("0 events")
