"""What a test reads off the console."""

import json
import subprocess
from collections.abc import Callable

from playwright.sync_api import Page, expect

from tests.service.serving import Running

PATIENCE_MS = 30_000
HOSTILE = """<img src=x onerror="document.title='hacked'"><b>'O&#39;Brien"</b>"""
LONG = "A very long title " * 6 + "Donaudampfschifffahrtsgesellschaftskapitänswitwe" * 3

CONTRASTS = """() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const over = (colors) => {
    canvas.clearRect(0, 0, 1, 1);
    for (const color of colors) {
      canvas.fillStyle = color;
      canvas.fillRect(0, 0, 1, 1);
    }
    return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const linear = (part) => (part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
  const luminance = (rgb) => {
    const [red, green, blue] = rgb.map((part) => linear(part / 255));
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const contrasts = [];
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const [text, element] = [texts.currentNode.data.trim(), texts.currentNode.parentElement];
    const unseen = element.closest(".visually-hidden, .skip, noscript, option, :disabled");
    if (!text || unseen || !element.checkVisibility()) continue;
    const grounds = [];
    for (let at = element; at; at = at.parentElement) grounds.unshift(getComputedStyle(at).backgroundColor);
    const ink = luminance(over([...grounds, getComputedStyle(element).color]));
    const ground = luminance(over(grounds));
    contrasts.push([(Math.max(ink, ground) + 0.05) / (Math.min(ink, ground) + 0.05), text]);
  }
  return contrasts;
}"""
"""The contrast of each text that is seen, by luminance."""

OVERFLOWING = """() => [...document.querySelectorAll("main *, dialog[open] *")].filter((node) =>
  node.checkVisibility() && node.getBoundingClientRect().right > innerWidth + 1
).map((node) => node.className)"""
"""Parts of the page that are cut at its right."""

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
