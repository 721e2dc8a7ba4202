"""The console behind a proxy, under a path prefix."""

from dataclasses import replace

import pytest
from playwright.sync_api import expect

from service.history.in_process import InProcessHistory
from tests.service.conftest import Serve
from tests.service.console.reading import Open, answered, settle, shell_words, shown
from tests.service.prefix import PREFIX, served_under_prefix

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("proxy", ["keeps", "strips"])
def test_it_works_under_a_prefix_and_asks_for_nothing_outside_of_it(
    serve: Serve, open_console: Open, proxy: str
) -> None:
    server = serve(InProcessHistory(), root_path=PREFIX, console_writes=True)
    server.watch("a/b", "1005", "1017")
    with served_under_prefix(server, strips=proxy == "strips") as url:
        page = open_console(replace(server, url=url), "a/b")
        assert shown(page) == answered(server, user_id="a/b", k=10)
        expect(page.locator("#model")).to_be_visible()
        expect(page.locator("#history-count")).to_have_text("2 events")
        assert f"{url}/recommend" in shell_words(page.locator("#curl").inner_text())
        settle(page, lambda: page.get_by_role("button", name="Watch").first.click())
        expect(page.locator("#history-count")).to_have_text("3 events")
        settle(page, lambda: page.locator("#history .undo").click())
        expect(page.locator("#history-count")).to_have_text("2 events")


def test_the_prefix_without_its_slash_leads_to_it(serve: Serve, open_console: Open) -> None:
    server = serve(InProcessHistory(), root_path=PREFIX)
    page = open_console(replace(server, url=server.url + PREFIX))
    expect(page).to_have_url(f"{server.url}{PREFIX}/")
    expect(page.locator("#model")).to_be_visible()
