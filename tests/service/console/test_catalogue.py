"""Videos are put and taken down from the console, and the answers that it shows follow at once."""

import json
import re
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from playwright.sync_api import Locator, Page, expect
from redis import Redis

from service.access.roles import Role
from service.replicas.board import DEADLINES, PROCESSES
from tests.factories import publish_tiny_bundle
from tests.service.conftest import Serve
from tests.service.console.reading import CONTRASTS, HOSTILE, LONG, OVERFLOWING, Open, settle, shown
from tests.service.serving import AUTHORIZED, KEY, Running, write_keys

pytestmark = pytest.mark.browser


@pytest.fixture
def root(tmp_path: Path) -> Path:
    publish_tiny_bundle(tmp_path / "bundles", seed=1, attributes=True)
    return tmp_path / "bundles"


@pytest.fixture
def server(serve: Serve, root: Path) -> Running:
    """A server of its own, whose catalogue may change."""
    server = serve(bundles=root, console_writes=True)
    server.watch("u", "1005", "1017", "1123")
    return server


def call(server: Running, method: str, item_id: str, **options: Any) -> dict[str, Any]:
    response = server.client.request(
        method, f"/items/{quote(item_id, safe='')}", headers=AUTHORIZED, **options
    )
    answer: dict[str, Any] = response.raise_for_status().json()
    return answer


def with_key(page: Page, key: str = KEY) -> Page:
    """The page once it has the key that its panel asks for."""
    page.get_by_role("button", name="Give a key").click()
    page.get_by_label("Key", exact=True).fill(key)
    with page.expect_navigation():
        page.get_by_role("button", name="Use it").click()
    page.locator(".item").first.wait_for()
    shown(page)
    return page


def choose(page: Page, source: str) -> None:
    page.get_by_label(source).check(force=True)


def rows(page: Page) -> Locator:
    return page.locator(".change")


def test_a_video_is_put_seen_taken_down_and_put_back(server: Running, open_console: Open) -> None:
    page = with_key(
        open_console(server, "u", trouble=True)
    )  # an id that is looked up in vain is an error there
    expect(page.locator("#changes")).to_have_text("No video is new or changed.")
    page.get_by_role("button", name="Put a video").press("Enter")
    dialog = page.get_by_role("dialog", name="Put a video")
    expect(dialog.get_by_label("Id", exact=True)).to_be_focused()
    dialog.get_by_label("Id", exact=True).fill("v/1")
    dialog.get_by_label("Title").fill("A new video")
    expect(dialog.get_by_role("status")).to_have_text("A new video.")
    dialog.get_by_label("Category names").fill("Comedy\n\n New ones, too \n")
    dialog.get_by_label("Like these videos").fill("\n".join(shown(page)[:2]))
    settle(page, lambda: dialog.get_by_role("button", name="Put it").click())
    expect(dialog).to_be_hidden()
    nearest = server.client.get("/items/v%2F1/similar?k=3").json()["items"]
    expect(page.locator("#toast")).to_have_text(
        "Put A new video. Its vector is the mean of videos like it, next to "
        + ", ".join(one["item_id"] for one in nearest)
        + "."
    )
    expect(rows(page)).to_have_count(1)
    for told in ("A new video", "v/1", "Comedy, New ones, too", "is the mean of videos like it"):
        expect(rows(page)).to_contain_text(told)
    assert "v/1" in shown(page)
    state = call(server, "GET", "v/1")
    assert state["categories"] == ["Comedy", "New ones, too"]

    item = page.locator(".item[data-item='v/1']")
    expect(page.locator(".badge.new")).to_have_count(1)
    expect(item.locator(".badge.new")).to_have_text("new")
    item.get_by_role("button", name="Take down A new video").press("Enter")
    asking = page.get_by_role("dialog", name="Take down A new video?")
    expect(asking.get_by_label("Id")).to_have_value("v/1")
    expect(asking.get_by_role("button", name="Cancel")).to_be_focused()
    asking.get_by_role("button", name="Cancel").press("Enter")
    expect(item.get_by_role("button", name="Take down")).to_be_focused()
    item.get_by_role("button", name="Take down").press("Enter")
    settle(page, lambda: asking.get_by_role("button", name="Take it down").press("Enter"))
    assert "v/1" not in shown(page)
    expect(page.get_by_label("Removed")).to_be_checked()
    expect(rows(page)).to_contain_text("removed by change 2")
    assert call(server, "GET", "v/1")["source"] == "removed"

    page.locator("#toast").get_by_role("button", name="Put back A new video").click()
    back = page.get_by_role("dialog", name="Put back A new video")
    expect(back.get_by_label("Title")).to_have_value("A new video")
    expect(back.get_by_label("Category names")).to_have_value("Comedy\nNew ones, too")
    settle(page, lambda: back.get_by_role("button", name="Put it").click())
    expect(page.get_by_label("New, changed")).to_be_checked()
    expect(rows(page)).to_contain_text("A new video")
    after = call(server, "GET", "v/1")
    assert (after["source"], after["sequence"]) == ("overlay", 3)
    assert [after[name] for name in ("title", "categories")] == [
        state[name] for name in ("title", "categories")
    ]


def put_titled(page: Page, item_id: str, title: str) -> None:
    page.get_by_role("button", name="Put a video").click()
    dialog = page.get_by_role("dialog", name="Put a video")
    dialog.get_by_label("Id", exact=True).fill(item_id)
    dialog.get_by_label("Title").fill(title)
    dialog.get_by_label("Like these videos").fill("1005")
    settle(page, lambda: dialog.get_by_role("button", name="Put it").click())


def take_down(page: Page, item_id: str) -> None:
    page.get_by_role("button", name="Take one down").click()
    page.get_by_role("dialog").get_by_label("Id").fill(item_id)
    settle(page, lambda: page.get_by_role("button", name="Take it down").click())


def test_processes_that_do_not_say_that_they_know_a_change_are_named(
    serve: Serve, root: Path, redis_url: str, open_console: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.replicas.presence.WAIT_S", 0.3)
    redis = Redis.from_url(redis_url)
    for pid in (7, 8):
        said = {"id": f"other-{pid}", "host": "elsewhere", "pid": pid, "version": "v"}
        redis.hset(PROCESSES, f"other-{pid}", json.dumps(said))
        redis.zadd(DEADLINES, {f"other-{pid}": (time.time() + 3600) * 1000})
    server = serve(bundles=root, redis_url=redis_url, history_timeout_s=2.0, console_writes=True)
    page = with_key(open_console(server, "u", trouble=True))
    toast, named = page.locator("#toast"), "Not known yet to elsewhere:7, elsewhere:8."
    put_titled(page, "v-1", "First")
    expect(toast).to_have_text(re.compile(rf"Put First\. Its vector is .+, next to 1005, .+\. {named}"))
    take_down(page, "1017")
    expect(toast).to_contain_text(f"Took down 1017. {named}")
    redis.delete(PROCESSES, DEADLINES)
    put_titled(page, "v-2", "Second")
    expect(toast).to_have_text(re.compile(r"Put Second\. Its vector is [^.]+\.$"))


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ({"sequence": 1, "missing": None}, "Redis does not tell whether all others know of it."),
        ({"sequence": None, "missing": None}, "The others hear of it once Redis is back."),
    ],
)
def test_where_redis_does_not_tell_the_page_says_so(
    server: Running, open_console: Open, answer: dict[str, Any], told: str
) -> None:
    page = with_key(open_console(server, "u"))
    effect = {"item_id": "1017", "effective": "here", "replicated": None, **answer}
    page.route("**/items/1017?wait=all", lambda route: route.fulfill(json=effect))
    take_down(page, "1017")
    expect(page.locator("#toast")).to_contain_text(f"Took down 1017. {told}")


def test_a_removed_video_of_a_history_is_shown_as_such(server: Running, open_console: Open) -> None:
    page = with_key(open_console(server, "u"))
    page.get_by_role("button", name="Take one down").click()
    dialog = page.get_by_role("dialog", name="Take a video down")
    dialog.get_by_label("Id").fill("1017")
    settle(page, lambda: dialog.get_by_label("Id").press("Enter"))
    row = page.locator(".event", has_text="1017")
    expect(row.locator(".event-categories")).to_have_text("removed from the catalogue")
    expect(rows(page)).to_contain_text("Video 17")  # the title is for who may put it back
    rows(page).get_by_role("button", name="Put back Video 17").click()
    settle(page, lambda: page.get_by_role("button", name="Put it").click())
    expect(page.locator(".event-title")).to_have_text(["Video 123", "Video 17", "Video 5"])
    assert call(server, "GET", "1017")["derived_from"] == "learned"


def test_faults_stand_by_their_fields(server: Running, open_console: Open) -> None:
    page = with_key(open_console(server, "u", trouble=True))
    page.get_by_role("button", name="Put a video").click()
    dialog = page.get_by_role("dialog", name="Put a video")

    def faults(*labels: str) -> None:
        dialog.get_by_role("button", name="Put it").click()
        expect(dialog.locator("[aria-invalid]")).to_have_count(len(labels))
        expect(dialog.get_by_role("button", name="Put it")).to_be_enabled()
        for label in labels:
            field = dialog.get_by_label(label)
            told = field.get_attribute("aria-describedby")
            expect(dialog.locator(f"#{told}")).not_to_be_empty()
        expect(dialog.get_by_label(labels[0])).to_be_focused()

    dialog.get_by_label("Id", exact=True).fill("v-1")
    faults("Category names")
    dialog.get_by_label("Like these videos").fill("unknown")
    faults("Like these videos")
    expect(dialog.locator(".fault")).to_have_text("the model in service was trained on none of these items")
    expect(dialog.get_by_role("alert")).to_be_hidden()
    dialog.get_by_label("Like these videos").fill("x" * 129)
    dialog.get_by_label("Category names").fill("y" * 129 + "\n" + "z" * 129)
    dialog.get_by_label("Available from").fill("2040-02-01T10:00")
    dialog.get_by_label("Available until").fill("2040-02-01T09:00")
    faults("Category names", "Like these videos")
    dialog.get_by_label("Like these videos").fill("1001")
    dialog.get_by_label("Category names").fill("")
    faults("Available until")
    expect(dialog.locator(".fault")).to_have_text("must be later than available_from")
    dialog.get_by_label("Available until").fill("2040-02-01T10:01")
    settle(page, lambda: dialog.get_by_role("button", name="Put it").click())
    expect(rows(page)).to_contain_text("from 1 Feb 2040, 10:00 · until 1 Feb 2040, 10:01")
    state = call(server, "GET", "v-1")
    assert state["available_until"] - state["available_from"] == 60_000


@pytest.mark.parametrize("status", [409, 503])
def test_a_refusal_stands_in_the_form_with_the_services_words(
    server: Running, open_console: Open, status: int
) -> None:
    page = with_key(open_console(server, "u", trouble=True))
    problem = {"title": "Too many items were changed", "detail": "publish a bundle", "status": status}
    page.route(
        "**/items/**",
        lambda route: (
            route.fulfill(status=status, json={**problem, "errors": [], "request_id": "r-7"})
            if route.request.method != "GET"
            else route.continue_()
        ),
    )
    page.get_by_role("button", name="Put a video").click()
    dialog = page.get_by_role("dialog", name="Put a video")
    dialog.get_by_label("Id", exact=True).fill("v-1")
    dialog.get_by_label("Title").fill("typed with care")
    dialog.get_by_role("button", name="Put it").click()
    for told in (problem["title"], problem["detail"], "request r-7"):
        expect(dialog.get_by_role("alert")).to_contain_text(str(told))
    expect(dialog.get_by_label("Title")).to_have_value("typed with care")
    dialog.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Take down").first.click()
    page.get_by_role("button", name="Take it down").click()
    expect(page.get_by_role("dialog").get_by_role("alert")).to_contain_text("publish a bundle")


def test_what_the_form_does_not_show_is_kept(server: Running, open_console: Open) -> None:
    forever, moment = 2**53 - 1, 1_795_000_000_123
    item = {"title": "Old", "categories": [" padded ", "a, b"], "from": {"like": ["1001"]}}
    call(server, "PUT", "v-1", json={**item, "available_from": moment, "available_until": forever})
    page = with_key(open_console(server, "u"))
    expect(rows(page)).to_contain_text(f"until {forever} ms")
    rows(page).get_by_role("button", name="Change Old").click()
    dialog = page.get_by_role("dialog", name="Change Old")
    expect(dialog.get_by_role("status")).to_contain_text("Known: ")
    expect(dialog.get_by_label("Id", exact=True)).not_to_be_editable()
    dialog.get_by_label("Title").fill("Renamed")
    dialog.get_by_role("button", name="Put it").click()
    expect(rows(page)).to_contain_text("Renamed")
    state = call(server, "GET", "v-1")
    assert (state["title"], state["categories"]) == ("Renamed", item["categories"])
    assert (state["available_from"], state["available_until"]) == (moment, forever)
    assert state["derived_from"] == "like"


def test_a_typed_id_that_is_known_brings_what_is_known_of_it(server: Running, open_console: Open) -> None:
    before = call(server, "GET", "1003")
    page = with_key(open_console(server, "u"))
    page.get_by_role("button", name="Put a video").click()
    dialog = page.get_by_role("dialog", name="Put a video")
    dialog.get_by_label("Title").fill("Renamed")
    dialog.get_by_label("Id", exact=True).fill("1003")
    settle(page, lambda: dialog.get_by_label("Id", exact=True).press("Enter"))  # sent before it was looked up
    after = call(server, "GET", "1003")
    assert (after["title"], after["derived_from"]) == ("Renamed", "learned")
    kept = ("categories", "attributes")
    assert [after[name] for name in kept] == [before[name] for name in kept]


def test_changes_come_in_pages(server: Running, open_console: Open) -> None:
    ids = sorted(f"v-{index}" for index in range(45))
    items = [{"item_id": item_id, "from": {"like": ["1001"]}} for item_id in ids]
    server.client.post("/items", json={"items": items}, headers=AUTHORIZED).raise_for_status()
    page = with_key(open_console(server, "u"))
    for count in (20, 40, 45):
        expect(rows(page)).to_have_count(count)
        assert [row.get_attribute("data-item") for row in rows(page).all()] == ids[:count]
        if count < len(ids):
            page.get_by_role("button", name="More").press("Enter")
    expect(page.get_by_role("button", name="More")).to_be_hidden()
    expect(page.locator("#changes")).to_be_focused()
    choose(page, "Stale")
    expect(page.locator("#changes")).to_have_text("None: every video has a vector.")


def test_without_the_role_the_panel_says_which_one_is_needed(
    serve: Serve, root: Path, open_console: Open, tmp_path: Path
) -> None:
    keys = tmp_path / "keys.json"
    write_keys(keys, reader=("dimerec_reader", Role.READ, Role.USERS, Role.WRITE))
    page = open_console(serve(bundles=root, keys_file=keys, console_writes=True), "u", trouble=True)
    page.locator(".item").first.wait_for()
    panel = page.get_by_role("region", name="Catalogue")
    expect(panel).to_contain_text("A key with the role catalogue shows here")
    expect(page.get_by_role("dialog")).to_have_count(0)
    with_key(page, "dimerec_reader")
    expect(panel).to_contain_text("The key may not do this. A key with the role catalogue")
    expect(panel.get_by_role("radio")).to_have_count(0)
    for name in ("Put", "Take"):
        expect(page.get_by_role("button", name=name)).to_have_count(0)


def test_where_the_console_only_looks_it_offers_no_change(
    serve: Serve, root: Path, open_console: Open
) -> None:
    server = serve(bundles=root)
    call(server, "DELETE", "1005")
    page = with_key(open_console(server, "u"))
    choose(page, "Removed")
    expect(rows(page)).to_contain_text("Video 5")
    expect(page.locator("#catalogue-note")).to_contain_text("DIMEREC_CONSOLE_WRITES=true")
    for name in ("Put", "Take"):
        expect(page.get_by_role("button", name=name)).to_have_count(0)


def test_a_video_past_its_time_is_listed_as_removed(server: Running, open_console: Open) -> None:
    call(
        server,
        "PUT",
        "v-1",
        json={"from": {"like": ["1001"]}, "available_until": int(time.time() * 1000) + 1},
    )
    page = with_key(open_console(server, "u"))
    choose(page, "Removed")
    expect(rows(page)).to_contain_text("its available_until has passed")


def test_markup_in_what_was_put_stays_text(server: Running, open_console: Open) -> None:
    like = {"from": {"like": ["1005", "1017", "1123"]}}
    call(server, "PUT", HOSTILE, json={"title": HOSTILE, "categories": [HOSTILE], **like})
    page = with_key(open_console(server, "u", trouble=True))
    expect(rows(page).locator(".change-title")).to_have_text(HOSTILE)
    expect(rows(page).locator(".change-id")).to_have_text(HOSTILE)
    rows(page).get_by_role("button", name="Change").click()
    expect(page.get_by_role("dialog").get_by_label("Category names")).to_have_value(HOSTILE)
    page.get_by_label("Like these videos").fill(HOSTILE)
    page.get_by_role("button", name="Put it").click()
    expect(page.locator(".fault")).not_to_be_empty()
    page.get_by_label("Like these videos").fill("1005")
    settle(page, lambda: page.get_by_role("button", name="Put it").click())
    expect(page.locator("#toast")).to_contain_text(f"Put {HOSTILE}.")
    rows(page).get_by_role("button", name="Take down").click()
    expect(page.get_by_role("dialog").get_by_role("heading")).to_have_text(f"Take down {HOSTILE}?")
    settle(page, lambda: page.get_by_role("button", name="Take it down").click())
    expect(page.locator("#toast")).to_contain_text(f"Took down {HOSTILE}")
    assert page.locator("img:not([src='console/favicon.svg']), b").count() == 0
    expect(page).to_have_title("DimeRec console")


@pytest.mark.parametrize(
    ("scheme", "width"), [("light", 320), ("dark", 700), ("light", 1000), ("dark", 1440)]
)
def test_the_panel_and_its_forms_are_readable_at_every_width(
    server: Running, open_console: Open, scheme: str, width: int
) -> None:
    like = {"from": {"like": ["1005"]}}
    call(server, "PUT", "W" * 128, json={"title": LONG, "categories": [LONG[-120:]], **like})
    call(server, "PUT", "v-1", json=like)
    page = with_key(open_console(server, "u", scheme, width, trouble=True))
    expect(page.locator("body")).to_be_focused()
    expect(rows(page)).to_have_count(2)

    def check(least: int) -> None:
        page.wait_for_timeout(400)
        contrasts = page.evaluate(CONTRASTS)
        assert len(contrasts) > least
        assert [(round(ratio, 2), text) for ratio, text in contrasts if ratio < 4.5] == []
        assert page.evaluate(OVERFLOWING) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width

    check(100)
    page.get_by_role("button", name="Put a video").click()
    dialog = page.get_by_role("dialog", name="Put a video")
    dialog.get_by_label("Id", exact=True).fill("x" * 200)
    dialog.get_by_role("button", name="Put it").click()
    expect(dialog.locator(".fault")).to_be_visible()
    check(100)
    dialog.get_by_role("button", name="Cancel").click()
    rows(page).first.get_by_role("button", name="Take down").click()
    check(100)
    snapshot = page.locator("body").aria_snapshot()
    assert 'region "Catalogue"' in snapshot or 'dialog "Take down' in snapshot


def test_the_focus_stays_where_its_video_was(server: Running, open_console: Open) -> None:
    page = with_key(open_console(server, "u"))
    page.locator(".item").first.get_by_role("button", name="Take down").press("Enter")
    settle(page, lambda: page.get_by_role("button", name="Take it down").press("Enter"))
    expect(page.locator("#recommendations")).to_be_focused()
    rows(page).first.wait_for()
    call(server, "PUT", "v-1", json={"from": {"like": ["1005"]}})
    choose(page, "New, changed")
    rows(page).get_by_role("button", name="Take down").press("Enter")
    settle(page, lambda: page.get_by_role("button", name="Take it down").press("Enter"))
    expect(page.locator("#changes")).to_be_focused()
