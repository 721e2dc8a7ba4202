"""What is chosen in the console stands in its address, is shared and gone back to; what a failure leaves."""

import json
from functools import partial
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Page, expect

from tests.service.conftest import Serve
from tests.service.console.reading import HOSTILE, Open, answered, asked, settle, shown
from tests.service.serving import Running

pytestmark = pytest.mark.browser

CHOSEN = {
    "k": 5,
    "steps": 5,
    "draws": 3,
    "diversity": 0.45,
    "interest_mode": "both",
    "seed": 11,
    "categories": ["Drama", "Comedy"],
}


def address(page: Page) -> dict[str, list[str]]:
    """What the address says."""
    return parse_qs(urlsplit(page.url).fragment)


def test_every_setting_is_in_the_address_and_comes_back_from_it(
    server: Running, viewer: str, open_console: Open
) -> None:
    page = open_console(server, viewer)
    page.locator(".item").first.wait_for()
    shown(page)
    assert address(page) == {"user": [viewer]}
    page.get_by_label("Denoising steps").fill("5")
    page.get_by_label("Draws").fill("3")
    page.get_by_label("Diversity").fill("0.45")
    page.get_by_label("Mode").select_option("both")
    page.get_by_label("Seed").fill("11")
    page.get_by_label("Show", exact=True).select_option("5")
    page.get_by_label("Categories").fill("Drama")
    page.get_by_label("Categories").press("Enter")
    page.get_by_label("Categories").fill("Comedy")
    settle(page, lambda: page.get_by_label("Categories").press("Enter"))
    texts = {
        name: [*map(str, value)] if isinstance(value, list) else [str(value)]
        for name, value in CHOSEN.items()
    }
    assert address(page) == {"user": [viewer], **texts}
    assert asked(page) == {"user_id": viewer, **CHOSEN}
    first = shown(page)
    assert first == answered(server, user_id=viewer, **CHOSEN)

    shared = open_console(server)
    shared.goto(page.url)
    shared.locator(".item").first.wait_for()
    assert shown(shared) == first
    assert asked(shared) == asked(page)
    assert shared.url == page.url
    expect(shared.get_by_label("Draws")).to_have_value("3")
    expect(shared.locator(".filter")).to_have_text(["Drama", "Comedy"])
    settle(shared, lambda: shared.get_by_role("button", name="Reset").click())
    assert address(shared) == {"user": [viewer]}


def test_back_and_forward_go_through_users_and_settings(
    server: Running, viewer: str, open_console: Open
) -> None:
    server.watch(f"{viewer} 2", "1003")
    page = open_console(server, viewer)
    page.locator(".item").first.wait_for()
    lists = [shown(page)]
    for press in range(3):  # one slider moved three times is one step back
        settle(page, partial(page.get_by_label("Diversity").press, "End" if press == 2 else "ArrowRight"))
    lists.append(shown(page))
    page.get_by_label("User id").fill(f"{viewer} 2")
    settle(page, lambda: page.get_by_role("button", name="Show").click())
    lists.append(shown(page))
    for back in (1, 0):
        settle(page, page.go_back)
        assert shown(page) == lists[back]
        expect(page.get_by_label("User id")).to_have_value(viewer)
        expect(page.locator("#history-count")).to_have_text("3 events")
    expect(page.locator("#diversity-value")).to_have_text("0.00")
    settle(page, page.go_forward)
    settle(page, page.go_forward)
    assert shown(page) == lists[2]
    expect(page.get_by_label("User id")).to_have_value(f"{viewer} 2")


def test_an_address_edited_by_hand_counts(server: Running, viewer: str, open_console: Open) -> None:
    page = open_console(server, viewer)
    page.locator(".item").first.wait_for()
    settle(page, lambda: page.evaluate("location.hash += '&k=37'"))
    assert len(shown(page)) == 37
    expect(page.get_by_label("Show", exact=True)).to_have_value("37")
    page.evaluate("location.hash = ''")
    expect(page.locator("#empty")).to_contain_text("Type a user id")
    expect(page.locator(".item, .event, .interest, .segment")).to_have_count(0)


@pytest.mark.parametrize(
    ("name", "value", "field", "used", "told"),
    [
        ("k", "999999", "k", 500, "k “999999” is out of bounds, so 500 is used"),
        ("k", "0", "k", 1, "so 1 is used"),
        ("steps", "-3", "steps", 1, "so 1 is used"),
        ("steps", "9", "steps", 8, "so 8 is used"),  # the tiny model has 8
        ("draws", "1e9", "draws", None, "draws “1e9” is no whole number"),
        ("draws", "2.5", "draws", None, "no whole number"),
        ("draws", "NaN", "draws", None, "no whole number"),
        ("diversity", "Infinity", "diversity", None, "no number"),
        ("diversity", "7", "diversity", 1, "so 1 is used"),
        ("seed", "99999999999999999999", "seed", None, "the seed must lie within 0 and 9007199254740991"),
        ("seed", "9007199254740993", "seed", None, "the seed must lie within"),
        ("interest_mode", "generated", "interest_mode", None, "is none of draws, guidance, both"),
        ("interest_mode", HOSTILE, "interest_mode", None, "the mode “<img src=x"),
        ("k", HOSTILE, "k", None, "k “<img src=x"),
        (HOSTILE, "1", "k", None, "is no setting of this page"),
        ("__proto__", "1", "k", None, "“__proto__” is no setting"),
        ("constructor", "1", "k", None, "“constructor” is no setting"),
        ("categories", "", "categories", None, "of the categories only 64"),
        ("categories", "x" * 129, "categories", None, "of the categories only 64"),
    ],
)
def test_an_address_out_of_bounds_is_clamped_or_refused_and_told(
    server: Running,
    viewer: str,
    open_console: Open,
    name: str,
    value: str,
    field: str,
    used: object,
    told: str,
) -> None:
    page = open_console(server, viewer, **{name: value})
    page.locator(".item").first.wait_for()
    shown(page)
    expect(page.locator("#address-note")).to_contain_text(told)
    defaults = {"k": 10, **server.client.get("/version").json()["defaults"]}
    assert asked(page).get(field) == (defaults.get(field) if used is None else used)
    assert name in {"user"} | set(address(page)) or used is None
    assert page.locator("main img, main b, main script").count() == 0
    expect(page).to_have_title("DimeRec console")
    settle(page, lambda: page.get_by_role("button", name="Draw again").click())
    expect(page.locator("#address-note")).to_be_hidden()


@pytest.mark.parametrize(
    "fragment", ["%", "%E0%A4%A", "user", "=", "&&&", "user=&k=", "user=%00", "user=..&k=5"]
)
def test_a_broken_address_breaks_nothing(server: Running, open_console: Open, fragment: str) -> None:
    page = open_console(server, trouble=True)
    page.goto(f"{server.url}/#{fragment}")
    page.reload()
    expect(page.locator("#model")).to_be_visible()
    page.get_by_label("User id").fill("somebody")
    settle(page, lambda: page.get_by_role("button", name="Show").click())
    expect(page.locator("#badges")).to_have_text("popularity")


def test_categories_narrow_the_list_and_unknown_ones_are_told(
    server: Running, viewer: str, open_console: Open
) -> None:
    page = open_console(server, viewer)
    page.locator(".item").first.wait_for()
    shown(page)
    known = page.locator("#known-categories option").first.get_attribute("value")
    page.get_by_label("Categories").fill(str(known))
    settle(page, lambda: page.get_by_label("Categories").press("Enter"))
    assert shown(page) == answered(server, user_id=viewer, categories=[known])
    page.get_by_label("Categories").fill(HOSTILE)
    settle(page, lambda: page.get_by_label("Categories").press("Enter"))
    expect(page.locator("#notice")).to_contain_text(f"The catalogue has no category {HOSTILE}.")
    expect(page.locator(".filter")).to_have_text([str(known), HOSTILE])
    settle(page, lambda: page.get_by_role("button", name=f"Remove {known}", exact=True).click())
    expect(page.locator("#empty")).to_have_text(f"Nothing of {HOSTILE} is left to recommend.")
    assert page.locator("main img, main b").count() == 0


def test_a_user_who_is_being_typed_in_is_left_alone(server: Running, viewer: str, open_console: Open) -> None:
    page = open_console(server, viewer)
    page.locator(".item").first.wait_for()
    shown(page)
    with page.expect_response("**/recommend"):
        page.get_by_label("Diversity").press("End")
        page.get_by_label("User id").fill("half a na")
    shown(page)
    expect(page.get_by_label("User id")).to_have_value("half a na")
    assert asked(page)["user_id"] == viewer


def test_a_seed_that_is_none_is_marked_and_not_asked_for(
    server: Running, viewer: str, open_console: Open
) -> None:
    page = open_console(server, viewer)
    page.locator(".item").first.wait_for()
    settle(page, lambda: page.get_by_label("Seed").fill("5"))
    for text in ("-1", "1.5", "x", "9007199254740992"):
        page.get_by_label("Seed").fill(text)
        expect(page.get_by_label("Seed")).to_have_attribute("aria-invalid", "true")
    page.wait_for_timeout(300)
    assert asked(page)["seed"] == 5
    settle(page, lambda: page.get_by_label("Seed").fill(""))
    assert "seed" not in asked(page)


def test_nothing_of_a_user_stays_after_a_failure(serve: Serve, open_console: Open) -> None:
    server = serve(list_users=False, console_writes=True)
    server.watch("the one before", "1005", "1017")
    page = open_console(server, "the one before", trouble=True, categories="Drama")
    page.locator(".item").first.wait_for()
    settle(page, lambda: page.locator(".watch").first.click())
    expect(page.locator("#toast")).to_be_visible()
    expect(page.locator("#history-count")).to_have_text("3 events")
    page.context.set_offline(True)
    page.get_by_label("User id").fill("the next one")
    page.get_by_role("button", name="Show").click()
    expect(page.locator("#problem")).to_contain_text("The service does not answer")
    expect(page.locator("#problem")).to_contain_text("Try again in a moment")
    expect(page.locator("#history")).to_contain_text("The service does not answer")
    expect(page.locator(".item, .event, .interest, .segment, .badge, .timings div")).to_have_count(0)
    for emptied in ("#history-count", "#interests-count", "#total", "#request-id", "#status", "#notice"):
        expect(page.locator(emptied)).to_have_text("")
    expect(page.locator("#toast")).to_be_hidden()
    text = page.locator("body").inner_text() + page.locator("body").inner_html()
    assert "the one before" not in text
    assert "Video" not in text
    page.context.set_offline(False)
    settle(page, lambda: page.get_by_role("button", name="Try again").click())
    expect(page.locator("#problem")).to_be_hidden()
    expect(page.locator("#history")).to_have_text("Nothing watched yet.")


def test_settings_that_are_refused_leave_no_older_answer(
    server: Running, viewer: str, open_console: Open
) -> None:
    page = open_console(server, viewer, trouble=True)
    page.locator(".item").first.wait_for()
    shown(page)
    problem = {"title": "Too many requests are waiting", "detail": "try again in 3 s", "request_id": "r-1"}
    page.route("**/recommend", lambda route: route.fulfill(status=503, body=json.dumps(problem)))
    page.get_by_label("Diversity").press("End")
    expect(page.locator("#problem")).to_contain_text("Too many requests are waiting")
    expect(page.locator("#problem")).to_contain_text("try again in 3 s")
    expect(page.locator("#problem")).to_contain_text("request r-1")
    expect(page.locator(".item, .interest, .segment, .badge")).to_have_count(0)
    expect(page.locator("#history-count")).to_have_text("3 events")  # it was read for this user


@pytest.mark.parametrize(
    ("status", "body"),
    [(502, "<h1>Bad gateway</h1>"), (200, "<form>Log in</form>"), (500, ""), (200, "null")],
)
def test_an_answer_that_is_not_the_services_is_told(
    server: Running, viewer: str, open_console: Open, status: int, body: str
) -> None:
    page = open_console(server, viewer, trouble=True)
    page.locator(".item").first.wait_for()
    page.route(
        "**/recommend", lambda route: route.fulfill(status=status, body=body, content_type="text/html")
    )
    page.get_by_role("button", name="Draw again").click()
    expect(page.locator("#problem")).to_contain_text(f"with status {status}, is not the service's")
    expect(page.locator(".item")).to_have_count(0)


def test_a_service_that_is_away_at_first_is_asked_again(
    server: Running, viewer: str, open_console: Open
) -> None:
    page = open_console(server, viewer, trouble=True)
    page.route("**/version", lambda route: route.abort())
    page.reload()
    expect(page.locator("#problem")).to_contain_text("The service does not answer")
    page.unroute("**/version")
    settle(page, lambda: page.get_by_role("button", name="Try again").click())
    expect(page.locator("#problem")).to_be_hidden()
    expect(page.locator("#history-count")).to_have_text("3 events")


def test_users_that_cannot_be_listed_are_told(server: Running, open_console: Open) -> None:
    page = open_console(server, trouble=True)
    page.route(
        "**/users?*", lambda route: route.fulfill(status=503, body='{"title": "Down", "detail": "come back"}')
    )
    page.reload()
    expect(page.locator("#picker-note")).to_have_text("Users cannot be listed. Down. come back")
