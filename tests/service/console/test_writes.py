"""The console notes what a user watched only where the operator allows it, and takes it back."""

from urllib.parse import quote

import pytest
from playwright.sync_api import expect

from tests.service.conftest import Serve
from tests.service.console.reading import HOSTILE, Open, settle, shown
from tests.service.serving import Running

pytestmark = pytest.mark.browser


def watched(server: Running, user: str) -> list[str]:
    events = server.client.get(f"/users/{quote(user, safe='')}/history").json()["events"]
    return [event["item_id"] for event in events]


def test_by_default_the_console_only_looks(serve: Serve, open_console: Open) -> None:
    server = serve()
    assert server.client.get("/console/settings.json").json() == {
        "writes": False,
        "lists_users": True,
        "refusal": "dislike",
    }
    server.watch("u", "1005")
    page = open_console(server, "u")
    page.locator(".item").first.wait_for()
    expect(page.get_by_role("button", name="Watch")).to_have_count(0)
    expect(page.get_by_role("button", name="Not for me")).to_have_count(0)
    expect(page.get_by_role("button", name="Undo")).to_have_count(0)
    expect(page.locator("#writes-off")).to_contain_text("DIMEREC_CONSOLE_WRITES=true")
    expect(page.locator("#writes-off")).to_contain_text("is no access control")
    expect(page.locator("#writes-on")).to_be_hidden()
    server.watch("u", "1006")  # hiding a button closes no door
    page = open_console(server, "cold")
    expect(page.locator("#notice")).to_contain_text("Once they watch one, the next answer is personal.")


@pytest.mark.parametrize("where", ["#toast", "#history"])
@pytest.mark.parametrize("user", ["u", "a/b ü?#%2F", HOSTILE])
def test_what_was_watched_is_taken_back(server: Running, open_console: Open, where: str, user: str) -> None:
    user = f"{user} {where}"
    server.watch(user, "1005", "1017")
    page = open_console(server, user)
    page.locator(".item").first.wait_for()
    before = shown(page)
    title = page.locator(".item .title").first.inner_text()
    settle(page, lambda: page.locator(".watch").first.click())
    expect(page.locator("#history-count")).to_have_text("3 events")
    assert watched(server, user) == ["1005", "1017", before[0]]
    expect(page.locator("#history .undo")).to_have_count(1)
    settle(page, lambda: page.locator(where).get_by_role("button", name=f"Undo watching {title}").click())
    expect(page.locator("#toast")).to_have_text(f"Took back {title}")
    expect(page.locator("#history-count")).to_have_text("2 events")
    expect(page.locator(".undo")).to_have_count(0)
    assert watched(server, user) == ["1005", "1017"]
    assert shown(page) == before


def test_what_is_not_wanted_leaves_the_page_until_that_is_taken_back(
    server: Running, viewer: str, open_console: Open
) -> None:
    page = open_console(server, viewer)
    page.locator(".item").first.wait_for()
    before = shown(page)
    title = page.locator(".item .title").first.inner_text()
    request_id = page.locator("#request-id").inner_text().removeprefix("request ")
    settle(page, lambda: page.get_by_role("button", name=f"Not for me {title}", exact=True).press("Enter"))
    expect(page.locator("#toast")).to_contain_text(f"Refused {title}")
    assert before[0] not in shown(page)
    expect(page.locator("#history .event").first).to_contain_text("not wanted")
    kept = server.client.get(f"/users/{quote(viewer, safe='')}/history").json()["events"][-1]
    assert (kept["item_id"], kept["event_type"], kept["request_id"]) == (before[0], "dislike", request_id)
    settle(
        page, lambda: page.locator("#history").get_by_role("button", name=f"Undo refusing {title}").click()
    )
    expect(page.locator("#toast")).to_have_text(f"Took back {title}")
    assert shown(page) == before


def test_undo_takes_back_what_was_meant_whoever_is_shown(
    server: Running, viewer: str, open_console: Open
) -> None:
    page = open_console(server, viewer)
    page.locator(".item").first.wait_for()
    settle(page, lambda: page.locator(".watch").nth(0).click())
    expect(page.locator(".undo")).to_have_count(2)
    settle(page, lambda: page.locator(".watch").nth(0).click())
    expect(page.locator("#history .undo")).to_have_count(2)
    first, second = watched(server, viewer)[3:]
    page.get_by_label("User id").fill(f"{viewer} too")
    settle(page, lambda: page.get_by_role("button", name="Show").click())
    expect(page.locator(".undo")).to_have_count(0)
    settle(page, page.go_back)
    expect(page.locator("#history .undo")).to_have_count(2)
    settle(page, lambda: page.locator("#history .undo").nth(1).click())
    expect(page.locator("#history .undo")).to_have_count(1)
    assert watched(server, viewer)[3:] == [second]
    assert first != second


def test_an_undo_that_fails_is_told_and_can_be_tried_again(
    server: Running, viewer: str, open_console: Open
) -> None:
    page = open_console(server, viewer, trouble=True)
    page.locator(".item").first.wait_for()
    settle(page, lambda: page.locator(".watch").first.click())
    undo = page.locator("#history .undo")
    page.context.set_offline(True)
    undo.click()
    expect(page.locator("#toast")).to_contain_text("Not undone. The service does not answer. ")
    page.context.set_offline(False)
    settle(page, undo.click)
    assert len(watched(server, viewer)) == 3
