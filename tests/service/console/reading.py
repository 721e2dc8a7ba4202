"""What a test reads off the console."""

import json
import subprocess
from collections.abc import Callable

from playwright.sync_api import Page, expect

from tests.service.serving import Running

PATIENCE_MS = 30_000
HOSTILE = """<img src=x onerror="document.title='hacked'"><b>'O&#39;Brien"</b>"""
LONG = "A very long title " * 6 + "Donaudampfschifffahrtsgesellschaftskapitänswitwe" * 3

Open = Callable[..., Page]


def shown(page: Page) -> list[str]:
    """The ids of the items in the list, once the list answers what was asked last."""
    expect(page.locator("#recommendations")).to_have_attribute("aria-busy", "false")
    return [str(row.get_attribute("data-item")) for row in page.locator(".item").all()]


def asked(page: Page) -> dict[str, object]:
    """The body of the request that the console shows."""
    body: dict[str, object] = json.loads(shell_words(page.locator("#curl").inner_text())[-1])
    return body


def shell_words(command: str) -> list[str]:
    """The arguments that a real shell hands to curl."""
    tell = """curl() { for word; do printf '%s\\0' "$word"; done; }\n"""
    told = subprocess.run(["sh", "-c", tell + command], capture_output=True, text=True, check=True)
    return told.stdout.split("\0")[:-1]


def answered(server: Running, **wish: object) -> list[str]:
    answer = server.answer(**wish)
    return [item["item_id"] for item in answer["items"]]


def settle(page: Page, act: Callable[[], object]) -> None:
    """Do something that asks the service anew, and wait for the answer to be shown."""
    with page.expect_response(lambda response: response.url.endswith("/recommend")):
        act()
    shown(page)
