"""The console in a real Chromium, on a real service."""

import json
import re
from importlib.resources import files
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.sync_api import Route, expect

from service.engines import Engines
from service.fleet import ServingWorker
from service.history.in_process import InProcessHistory
from service.history.protocol import Event
from service.history.redis import RedisHistory
from tests.service.conftest import Serve
from tests.service.console.reading import (
    CONTRASTS,
    HOSTILE,
    OVERFLOWING,
    Open,
    answered,
    asked,
    settle,
    shell_words,
    shown,
)
from tests.service.serving import Running

FILES = [
    file.name
    for file in files("service.console").iterdir()
    if Path(file.name).suffix in {".css", ".js", ".svg"}
]

pytestmark = pytest.mark.browser


def test_the_page_stands_on_its_own(server: Running, open_console: Open) -> None:
    page = open_console(server)
    expect(page).to_have_title("DimeRec console")
    version = server.client.get("/version").json()["model_version"]
    expect(page.locator("#model")).to_have_attribute("title", version)
    for name in FILES:
        assert server.client.get(f"/console/{name}").status_code == 200
    policy = page.evaluate("fetch('/').then((answer) => answer.headers.get('content-security-policy'))")
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy


def test_it_says_where_workers_serve_different_bundles(
    serve: Serve, open_console: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve()
    version = server.service.engines.version
    others: list[ServingWorker] = [ServingWorker(4711, f"{version[:-8]}01234567")]

    async def workers(engines: Engines) -> list[ServingWorker]:
        return [ServingWorker(1, engines.version), *others]

    monkeypatch.setattr(Engines, "workers", workers)
    page = open_console(server)
    model = page.locator("#model")
    expect(model).to_have_text(f"model {version[-8:]}, workers differ")
    expect(model).to_have_attribute("title", f"1: {version}\n4711: {version[:-8]}01234567")
    others.clear()
    page.fill("#user", "somebody")
    page.keyboard.press("Enter")
    expect(model).to_have_text(f"model {version[-8:]}")
    expect(model).to_have_attribute("title", version)


def test_its_files_name_no_other_host_and_parse_no_markup() -> None:
    for file in files("service.console").iterdir():
        if Path(file.name).suffix in {".html", ".css", ".js", ".svg"}:
            text = file.read_text().replace("http://www.w3.org/2000/svg", "")
            assert not re.search(r"https?://|//cdn|@import|url\(\s*['\"]?//", text), file.name
            assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(", text), (
                file.name
            )
            assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=", text), file.name


def test_a_user_who_is_typed_in_gets_history_and_recommendations(
    server: Running, viewer: str, open_console: Open
) -> None:
    page = open_console(server)
    page.get_by_label("User id").fill(viewer)
    settle(page, lambda: page.get_by_role("button", name="Show").click())
    expect(page.locator("#history-count")).to_have_text("3 events")
    expect(page.locator(".event-title")).to_have_text(["Video 123", "Video 17", "Video 5"])
    assert shown(page) == answered(server, user_id=viewer, k=10)
    expect(page.locator("#badges")).to_have_text("personal")
    expect(page.locator("#status")).to_have_text(f"10 recommendations for {viewer}, personal")
    first = server.answer(user_id=viewer, k=10)["items"][0]
    row = page.locator(".item").first
    expect(row.locator(".title")).to_contain_text(first["title"] or f"Untitled {first['item_id']}")
    assert row.locator(".category").all_inner_texts() == first["categories"]
    expect(row.locator(".dot")).to_have_text(str(first["interest"] + 1))
    expect(row.locator(".score-value")).to_have_text(f"{100 * first['score']:.1f}%")
    for part in ("queue", "model", "search", "other"):
        expect(page.locator("#timings dt", has_text=part)).to_be_visible()


def test_what_is_typed_before_the_suggestions_come_stays(
    server: Running, viewer: str, open_console: Open
) -> None:
    server.watch("another, suggested first", "1001")
    page = open_console(server, trouble=True)
    held: list[Route] = []
    page.route("**/users?*", lambda route: held.append(route))
    with page.expect_request("**/users?*"):
        page.reload()
    page.get_by_label("User id").fill(viewer)
    while not held:  # the handler of the route has its turn after the request is told of
        page.wait_for_timeout(10)
    held.pop().continue_()
    expect(page.locator(".suggestion").first).to_be_visible()
    expect(page.get_by_label("User id")).to_have_value(viewer)
    settle(page, lambda: page.get_by_role("button", name="Show").click())
    expect(page.locator("#history-count")).to_have_text("3 events")


def test_a_user_is_picked_from_the_suggestions(open_console: Open, serve: Serve) -> None:
    history = InProcessHistory()
    history.load((f"user {number}", Event("1001", number)) for number in (10, 9, 2))
    page = open_console(serve(history))
    expect(page.locator(".suggestion")).to_have_text(["user 2", "user 9", "user 10"])
    expect(page.get_by_label("User id")).to_have_value("user 2")
    settle(page, lambda: page.get_by_role("button", name="user 9", exact=True).click())
    expect(page.get_by_label("User id")).to_have_value("user 9")
    expect(page.locator(".suggestion[aria-pressed=true]")).to_have_text("user 9")


@pytest.mark.parametrize(
    ("control", "key", "field", "value"),
    [
        ("Denoising steps", "Home", "steps", 1),
        ("Draws", "Home", "draws", 1),
        ("Diversity", "End", "diversity", 1),
    ],
)
def test_a_slider_asks_again_and_changes_the_list(
    server: Running, viewer: str, open_console: Open, control: str, key: str, field: str, value: int
) -> None:
    page = open_console(server, viewer)
    page.locator(".item").first.wait_for()
    before = shown(page)
    settle(page, lambda: page.get_by_label(control).press(key))
    assert asked(page)[field] == value
    assert shown(page) == answered(server, user_id=viewer, **{field: value})
    if field != "steps":  # fewer steps of an untrained model sometimes lead to the same list
        assert shown(page) != before
        expect(page.locator(".moved").first).to_be_visible()
    settle(page, lambda: page.get_by_role("button", name="Reset").click())
    assert shown(page) == before


def test_mode_size_and_another_draw_ask_again(server: Running, viewer: str, open_console: Open) -> None:
    page = open_console(server, viewer)
    page.locator(".item").first.wait_for()
    before = shown(page)
    for _ in range(20):  # another draw may come to the same list
        settle(page, lambda: page.get_by_role("button", name="Draw again").click())
        assert shown(page) == answered(server, user_id=viewer, seed=asked(page)["seed"])
        if shown(page) != before:
            break
    assert shown(page) != before
    settle(page, lambda: page.get_by_label("Show", exact=True).select_option("20"))
    assert len(shown(page)) == 20
    settle(page, lambda: page.get_by_label("Mode").select_option("guidance"))
    assert shown(page) == answered(server, user_id=viewer, interest_mode="guidance", k=20)
    expect(page.get_by_label("Denoising steps")).to_be_disabled()


MOVED_SIX_TIMES = """(slider) => {
  for (const value of [0.05, 0.1, 0.15, 0.2, 0.25, 0.3]) {
    slider.value = value;
    slider.dispatchEvent(new Event("input", { bubbles: true }));
  }
}"""


def test_only_the_last_of_many_moves_counts(server: Running, viewer: str, open_console: Open) -> None:
    page = open_console(server, viewer)
    page.locator(".item").first.wait_for()
    shown(page)
    held: list[Route] = []
    dropped: list[str] = []
    page.on("requestfailed", lambda request: dropped.append(request.post_data or ""))
    page.route("**/recommend", lambda route: held.append(route) if len(held) < 1 else route.continue_())
    with page.expect_request("**/recommend"):
        page.get_by_label("Diversity").evaluate(MOVED_SIX_TIMES)
    expect(page.locator("#recommendations")).to_have_attribute("aria-busy", "true")
    assert asked(page)["diversity"] == 0.3
    settle(page, lambda: page.get_by_label("Diversity").press("End"))
    assert [json.loads(body)["diversity"] for body in dropped] == [0.3]
    assert shown(page) == answered(server, user_id=viewer, diversity=1)


def test_pointing_at_an_interest_shows_what_it_brought(
    server: Running, viewer: str, open_console: Open
) -> None:
    page = open_console(server, viewer)
    page.locator(".item").first.wait_for()
    answer = server.answer(user_id=viewer, k=10)
    buttons = page.locator(".interest")
    expect(buttons).to_have_count(len(answer["interests"]))
    brought = answer["items"][0]["interest"]
    expected = [item["item_id"] for item in answer["items"] if item["interest"] == brought]
    button = buttons.filter(has=page.locator(".dot", has_text=re.compile(rf"^{brought + 1}$")))
    lit = page.locator(".item.lit")
    for point in (button.hover, button.focus):
        point()
        assert [row.get_attribute("data-item") for row in lit.all()] == expected
        page.get_by_label("User id").focus()
        page.mouse.move(0, 0)
        expect(lit).to_have_count(0)
    button.press("Enter")
    page.get_by_label("User id").focus()
    expect(button).to_have_attribute("aria-pressed", "true")
    expect(lit).to_have_count(len(expected))
    tones = {row.evaluate("(row) => getComputedStyle(row).getPropertyValue('--tone')") for row in lit.all()}
    assert tones == {button.evaluate("(row) => getComputedStyle(row).getPropertyValue('--tone')")}


def test_each_interest_says_its_kind_its_items_and_what_it_is_about(
    server: Running, viewer: str, open_console: Open
) -> None:
    page = open_console(server, viewer, interest_mode="both", k=20)
    page.locator(".item").first.wait_for()
    shown(page)
    interests = server.answer(user_id=viewer, k=20, interest_mode="both")["interests"]
    assert {interest["kind"] for interest in interests} == {"draw", "guidance"}
    told = {
        int(button.locator(".dot").inner_text()) - 1: (
            button.locator(".interest-kind").inner_text(),
            button.locator(".interest-name").inner_text(),
        )
        for button in page.locator(".interest").all()
    }
    for index, interest in enumerate(interests):
        count = interest["item_count"]
        named = ", ".join(interest["top_categories"]) or "no categories"
        assert told[index] == (f"{interest['kind']} · {count} item{'' if count == 1 else 's'}", named)


def test_each_item_says_what_of_the_history_it_came_from(
    server: Running, viewer: str, open_console: Open
) -> None:
    page = open_console(server, viewer)
    page.locator(".item").first.wait_for()
    shown(page)
    items = server.answer(user_id=viewer, k=10)["items"]
    for row, item in zip(page.locator(".item").all(), items, strict=True):
        assert row.locator(".watched").all_inner_texts() == [video["title"] for video in item["because"]]
    page = open_console(server, "nobody is known of")
    page.locator(".item").first.wait_for()
    expect(page.locator(".because")).to_have_count(0)


def test_a_watched_item_enters_the_history_and_leaves_the_answers(
    server: Running, viewer: str, open_console: Open
) -> None:
    page = open_console(server, viewer)
    page.locator(".item").first.wait_for()
    item_id = shown(page)[0]
    title = page.locator(".item .title").first.inner_text()
    settle(page, lambda: page.get_by_role("button", name=f"Watch {title}", exact=True).press("Enter"))
    expect(page.locator("#toast span")).to_have_text(f"Watched {title}")
    expect(page.locator("#history-count")).to_have_text("4 events")
    expect(page.locator(".event-title").first).to_have_text(title)
    assert item_id not in shown(page)
    assert len(shown(page)) == 10
    stored = server.client.get(f"/users/{quote(viewer)}/history").json()["events"]
    assert stored[-1]["item_id"] == item_id


def test_a_cold_user_sees_what_is_popular_until_the_first_watch(server: Running, open_console: Open) -> None:
    page = open_console(server, "nobody before")
    page.locator(".item").first.wait_for()
    expect(page.locator("#badges")).to_have_text("popularity")
    expect(page.locator("#notice")).to_contain_text("Nothing is known of this viewer yet")
    expect(page.locator("#history")).to_have_text("Nothing watched yet.")
    expect(page.locator("#interest-list")).to_contain_text("None")
    settle(page, lambda: page.locator(".watch").first.click())
    expect(page.locator("#badges")).to_have_text("personal")
    expect(page.locator("#notice")).to_be_hidden()


def test_a_lost_history_store_is_told(serve: Serve, open_console: Open) -> None:
    page = open_console(
        serve(RedisHistory.from_url("redis://127.0.0.1:1/0"), console_writes=True), "u", trouble=True
    )
    page.locator(".item").first.wait_for()
    expect(page.locator(".badge.degraded")).to_have_text("degraded: history unavailable")
    expect(page.locator("#notice")).to_contain_text("The history store does not answer")
    page.locator(".watch").first.click()
    expect(page.locator("#toast")).to_contain_text("Not noted.")


def test_an_empty_picker_says_why_and_what_to_set(serve: Serve, redis_url: str, open_console: Open) -> None:
    page = open_console(serve(redis_url=redis_url))
    expect(page.locator("#picker-note")).to_contain_text("set DIMEREC_LIST_USERS=true")
    expect(page.locator("#suggestions")).to_be_hidden()
    page = open_console(serve(redis_url=redis_url, list_users=True))
    expect(page.locator("#picker-note")).to_contain_text("No user has a history yet")
    server = serve(redis_url=redis_url, list_users=True)
    server.watch("u", "1001")
    page = open_console(server)
    expect(page.locator(".suggestion")).to_have_text(["u"])
    expect(page.locator("#picker-note")).to_be_hidden()


def test_without_a_list_of_users_one_is_typed_in(serve: Serve, open_console: Open) -> None:
    page = open_console(serve(list_users=False))
    expect(page.locator("#empty")).to_contain_text("Type a user id")
    expect(page.get_by_label("User id")).to_be_focused()
    expect(page.locator("#suggestions")).to_be_hidden()


def test_trouble_is_told_and_mended(server: Running, viewer: str, open_console: Open) -> None:
    page = open_console(server, viewer, trouble=True)
    page.locator(".item").first.wait_for()
    before = shown(page)
    page.context.set_offline(True)
    page.get_by_label("Diversity").press("End")
    expect(page.get_by_role("alert").filter(has_text="The service does not answer")).to_be_visible()
    page.context.set_offline(False)
    settle(page, lambda: page.get_by_role("button", name="Try again").click())
    expect(page.locator("#problem")).to_be_hidden()
    assert shown(page) != before
    page.get_by_label("User id").fill("x\x01y")
    page.get_by_role("button", name="Show").click()
    expect(page.locator("#problem")).to_contain_text("user_id")
    expect(page.locator(".item")).to_have_count(0)


def test_the_curl_command_is_the_request(server: Running, open_console: Open) -> None:
    user = """O'Brien "$(id)" \\ `id`"""
    page = open_console(server, user)
    page.locator(".item").first.wait_for()
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy as curl").click()
    expect(page.locator("#toast")).to_have_text("Copied")
    command = shell_words(page.evaluate("navigator.clipboard.readText()"))
    header = "content-type: application/json"
    assert command[:-1] == ["-s", f"{server.url}/recommend", "-H", header, "-d"]
    assert json.loads(command[-1])["user_id"] == user
    response = server.client.post("/recommend", content=command[-1], headers=dict([header.split(": ")]))
    assert [item["item_id"] for item in response.json()["items"]] == shown(page)


def test_markup_in_titles_and_ids_stays_text(serve: Serve, hostile_bundle: Path, open_console: Open) -> None:
    history = InProcessHistory()
    history.load([(HOSTILE, Event(f"{HOSTILE}1", 1)), (HOSTILE, Event(f"{HOSTILE}?", 2))])
    server = serve(history, bundles=hostile_bundle, console_writes=True)
    page = open_console(server, HOSTILE)
    page.locator(".item").first.wait_for()
    expect(page.get_by_label("User id")).to_have_value(HOSTILE)
    expect(page.locator(".event-title")).to_have_text([f"{HOSTILE}?", HOSTILE])
    expect(page.locator(".suggestion")).to_have_text([HOSTILE])
    expect(page.locator(".watched").first).to_have_text(HOSTILE)
    page.get_by_label("User id").fill("cold")
    page.get_by_label("Show", exact=True).select_option("50")
    settle(page, lambda: page.get_by_role("button", name="Show").click())
    settle(page, lambda: page.get_by_label("User id").press("Enter"))
    settle(page, lambda: page.locator(".item", has_text="Video 60").locator(".watch").click())
    everything = page.locator("body")
    assert everything.locator("img:not([src='console/favicon.svg']), b").count() == 0
    expect(page).to_have_title("DimeRec console")


def hostile(answer: object) -> object:
    """An answer in which every string tries to be markup."""
    if isinstance(answer, dict):
        return {name: hostile(value) for name, value in answer.items()}
    if isinstance(answer, list):
        return [hostile(value) for value in answer]
    return HOSTILE if isinstance(answer, str) else answer


def test_no_string_of_any_answer_is_ever_markup(server: Running, viewer: str, open_console: Open) -> None:
    server.watch(viewer, "not in the catalogue")
    page = open_console(server, "cold, at first", trouble=True)
    page.locator(".item").first.wait_for()

    def make_hostile(route: Route) -> None:
        sent = route.request.post_data_json or {}
        sent.pop("request_id", None)  # the service takes none that no answer of its own has
        response = route.fetch(post_data=sent) if sent else route.fetch()
        body = hostile({**response.json(), "degraded": "x", "unknown_categories": ["x"]})
        route.fulfill(response=response, json=body)

    for calls in ("**/recommend", "**/users*", "**/history*", "**/events"):
        page.route(calls, make_hostile)
    page.get_by_label("Mode").select_option("both")
    page.get_by_label("User id").fill(viewer)
    settle(page, lambda: page.get_by_role("button", name="Show").click())
    expect(page.locator(".item .title").first).to_contain_text(HOSTILE)
    expect(page.locator(".watched").first).to_have_text(HOSTILE)
    expect(page.locator(".interest-kind").first).to_contain_text(HOSTILE)
    expect(page.locator("#notice")).to_contain_text(f"no category {HOSTILE}")
    expect(page.locator(".event-title").first).to_have_text(HOSTILE)
    settle(page, lambda: page.locator(".watch").first.click())
    expect(page.locator("#toast")).to_contain_text(f"Watched {HOSTILE}")
    problem = hostile({"title": "x", "detail": "y", "request_id": "z"})
    page.unroute("**/recommend")
    page.route("**/recommend", lambda route: route.fulfill(status=503, json=problem))
    page.reload()
    expect(page.locator("#problem-title")).to_have_text(HOSTILE)
    assert page.locator("main img, main b, #toast img, #toast b").count() == 0
    expect(page).to_have_title("DimeRec console")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_is_readable_in_both_themes(
    server: Running, viewer: str, open_console: Open, scheme: str
) -> None:
    server.watch(viewer, "not in the catalogue")
    page = open_console(server, viewer, scheme)
    page.locator(".item").first.wait_for()
    settle(page, lambda: page.get_by_label("Draws").press("End"))
    page.locator(".interest").first.press("Enter")
    page.locator(".interest").first.press("Enter")
    page.wait_for_timeout(500)
    grounds = {"light": [245, 244, 240], "dark": [18, 17, 23]}
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb({}, {}, {})".format(
        *grounds[scheme]
    )
    contrasts = page.evaluate(CONTRASTS)
    assert len(contrasts) > 100
    assert [(round(ratio, 2), text) for ratio, text in contrasts if ratio < 4.5] == []


def test_the_theme_can_be_chosen_and_is_remembered(server: Running, open_console: Open) -> None:
    page = open_console(server, "u", "light")
    toggle = page.get_by_role("button", name="Dark theme")
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    expect(toggle).to_have_attribute("aria-pressed", "false")
    toggle.click()
    expect(toggle).to_have_attribute("aria-pressed", "true")
    dark = page.evaluate(ground)
    assert dark != light
    page.reload()
    expect(toggle).to_have_attribute("aria-pressed", "true")
    assert page.evaluate(ground) == dark
    toggle.click()
    assert page.evaluate(ground) == light


@pytest.mark.parametrize("width", [320, 390, 700, 1000])
def test_no_width_needs_scrolling_sideways(
    serve: Serve, hostile_bundle: Path, open_console: Open, width: int
) -> None:
    history = InProcessHistory()
    history.load([("W" * 128, Event("2", 1)), ("u", Event("2", 1)), ("u", Event("W" * 128, 2))])
    page = open_console(serve(history, bundles=hostile_bundle), "u", width=width)
    page.locator(".item").first.wait_for()
    settle(page, lambda: page.get_by_label("Show", exact=True).select_option("50"))
    page.wait_for_timeout(400)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(OVERFLOWING) == []


def test_everything_that_can_be_operated_has_a_name(server: Running, viewer: str, open_console: Open) -> None:
    page = open_console(server, viewer)
    page.locator(".item").first.wait_for()
    snapshot = page.locator("body").aria_snapshot()
    assert 'button "Watch' in snapshot
    assert not re.search(r"- (button|slider|combobox|textbox|list)(?! \")(:| \[|$)", snapshot, re.MULTILINE)
