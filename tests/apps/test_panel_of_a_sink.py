"""A panel of closed minutes in a real browser: minute after minute without a reload, on every screen, for everybody."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.apps.test_dashboard import CONTRAST, wait_for
from tests.browser import chromium, visit
from tests.contract.test_monitor_panels import LABELS, TOKEN, Ranked
from tests.monitors import entry_of

ASINS = ["B004LLIL5A", "B004LLIKVU", "B004KNWWO0", "B00CHQ7I7W", "B00BWDGQYQ", "B00JDQKGWU"]
#: How often each of them is rated: the sixth is not among the first five, the fifth has a low bar.
OFTEN = [40, 31, 12, 7, 2, 1]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


def rate(running: Ranked, minute: int, often: list[int], overall: float = 4.0) -> None:
    """Rate each of the products so often."""
    running.rate(minute, *(asin for asin, number in zip(ASINS, often, strict=False) for _ in range(number)),
                 overall=overall)


@pytest.fixture(scope="module")
def ranked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ranked]:
    """A run with two minutes that are over: five bars, and three."""
    with Ranked(tmp_path_factory.mktemp("ranked")) as running:
        rate(running, 0, [3, 2, 1])
        rate(running, 1, OFTEN, overall=4.46)
        rate(running, 2, [1])
        running.until_drawn(*LABELS[:2])
        yield running


def bars(page: Page) -> list[dict[str, Any]]:
    """Each bar: what stands below, above and inside, and how high it is."""
    found: list[dict[str, Any]] = page.evaluate("""() => {
        const text = (column, part) => column.querySelector(part).textContent;
        return [...document.querySelectorAll("#panel g.column")].map((column) => ({
            below: text(column, ".below"), above: text(column, ".above"), inside: text(column, ".inside"),
            height: Number(column.querySelector("rect").getAttribute("height"))}));
    }""")
    return found


def names(page: Page) -> list[str]:
    return [bar["above"] for bar in bars(page)]


def test_five_bars_have_place_product_and_mean_and_the_height_of_their_count(browser: Browser, ranked: Ranked) -> None:
    with visit(browser, entry_of(ranked.state)) as page:
        wait_for(lambda: len(bars(page)) == 5, "five bars")
        found = bars(page)
        assert [bar["below"] for bar in found] == ["1", "2", "3", "4", "5"]
        assert [bar["above"] for bar in found] == ASINS[:5]
        assert [bar["inside"] for bar in found] == ["4.5"] * 5
        for bar, number in zip(found, OFTEN, strict=False):
            assert bar["height"] / found[0]["height"] == pytest.approx(number / OFTEN[0], rel=1e-6)
        assert page.locator("#panel text.axis-title").all_text_contents() == ["place", "number of ratings"]
        expect(page.locator("#panel-title")).to_have_text("Most ranked products")
        expect(page.locator("#panel-unit")).to_have_text(f"ratings, {LABELS[1]}")
        said = page.get_by_role("img", name=LABELS[1]).get_attribute("aria-label")
        assert said == f"{LABELS[1]}: " + "; ".join(
            f"place {place}: {asin}, {number} ratings, 4.5" for place, (asin, number) in enumerate(
                zip(ASINS[:5], OFTEN, strict=False), 1))


def test_minute_after_minute_comes_without_a_reload_and_can_be_looked_back_at(browser: Browser, tmp_path: Path) -> None:
    with Ranked(tmp_path) as running, visit(browser, entry_of(running.state), may_lose_connection=True) as page:
        expect(page.locator("#panel-empty")).to_be_visible()
        page.evaluate("window.isTheSame = true")
        for minute in range(3):
            rate(running, minute, [0] * minute + [2, 1])
            rate(running, minute + 1, [0, 0, 0, 0, 0, 1])
            shown = [*ASINS[minute:minute + 2], *([ASINS[5]] if minute else [])]
            wait_for(partial(lambda shown: names(page) == shown, shown), f"the bars of minute {minute}")
        page.get_by_role("button", name="Earlier").focus()
        page.keyboard.press("Enter")
        wait_for(lambda: names(page)[:2] == ASINS[1:3], "the bars of the minute before")
        slider = page.get_by_role("slider", name="Which drawing")
        assert slider.get_attribute("aria-valuetext") == LABELS[1]
        slider.press("Home")
        wait_for(lambda: names(page) == ASINS[:2], "the bars of the first minute")
        rate(running, 0, [0, 5])
        wait_for(lambda: names(page) == [ASINS[1], ASINS[0]], "its revision, while it is looked at")
        pid = running.views()["monitor.1"].pid
        os.kill(pid, signal.SIGKILL)
        running.until(lambda views: views["monitor.1"].pid not in (0, pid), "another monitor")
        rate(running, 4, [1])
        slider.press("End")
        wait_for(lambda: page.locator("#panel-unit").inner_text() == f"ratings, {LABELS[3]}", "the newest minute")
        expect(page.locator("#look-back output")).to_have_text("newest")
        assert page.evaluate("window.isTheSame")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 768, 400, 320])
def test_nothing_is_cut_off_or_stands_on_another_and_all_can_be_read(
    browser: Browser, ranked: Ranked, width: int, scheme: Any
) -> None:
    with visit(browser, entry_of(ranked.state), viewport={"width": width, "height": 900}, color_scheme=scheme) as page:
        wait_for(lambda: len(bars(page)) == 5, "five bars")
        expect_room(page)
        page.get_by_role("button", name="Earlier").click()
        wait_for(lambda: len(bars(page)) == 3, "three bars")
        expect_room(page)
        assert page.evaluate(CONTRAST) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def expect_room(page: Page) -> None:
    """No text of the panel is cut off, and none stands on another."""
    boxes = page.evaluate("""() => {
        const frame = document.querySelector("#panel svg").getBoundingClientRect();
        return [...document.querySelectorAll("#panel text")].filter((text) => text.textContent).map((text) => {
          const box = text.getBoundingClientRect();
          return {text: text.textContent, left: box.left, right: box.right, top: box.top, bottom: box.bottom,
                  is_in: box.left >= frame.left - 0.5 && box.right <= frame.right + 0.5
                         && box.top >= frame.top - 0.5 && box.bottom <= frame.bottom + 0.5};
        });
    }""")
    assert [box["text"] for box in boxes if not box["is_in"]] == []
    assert [(a["text"], b["text"]) for at, a in enumerate(boxes) for b in boxes[at + 1:] if meet(a, b)] == []


def meet(a: dict[str, Any], b: dict[str, Any]) -> bool:
    """Whether two boxes have more than their edges in common."""
    return bool(a["left"] < b["right"] - 1 and b["left"] < a["right"] - 1
                and a["top"] < b["bottom"] - 1 and b["top"] < a["bottom"] - 1)


PAGE = """<!doctype html><title>shop</title><ol id="top"></ol><script type="module">
const answer = await fetch("%s", { headers: { Authorization: "Bearer %s" } });
const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
for (let text = "", part; !(part = await reader.read()).done;) {
  const messages = (text + part.value).split("\\n\\n");
  text = messages.pop();
  for (const message of messages.filter((one) => one.startsWith("event: drawing"))) {
    const { bars } = JSON.parse(/^data: (.*)/m.exec(message)[1]);
    document.getElementById("top").replaceChildren(...bars.map(({ above, height }) =>
      Object.assign(document.createElement("li"), { textContent: `${above} ${height}` })));
  }
}
</script>"""


class Shop(BaseHTTPRequestHandler):
    """A site of its own, with one page."""

    page = ""

    def do_GET(self) -> None:
        """The page."""
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(self.page.encode())

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The port of a shop, on this machine."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Shop) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def test_a_page_of_another_site_follows_by_a_stream_if_it_may(
    browser: Browser, tmp_path: Path, shop: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    origins = f"monitor.allow_origins=['http://127.0.0.1:{shop}']"
    with Ranked(tmp_path, origins, f"monitor.token_secret={TOKEN}") as running:
        rate(running, 0, [2, 1])
        rate(running, 1, [0, 3])
        running.until_drawn(LABELS[0])
        monkeypatch.setattr(Shop, "page", PAGE % (f"{running.url}api/panels/main/events", TOKEN))
        context = browser.new_context()
        try:
            page, refused = context.new_page(), context.new_page()
            page.goto(f"http://127.0.0.1:{shop}/")
            expect(page.locator("#top li")).to_have_text([f"{ASINS[0]} 2", f"{ASINS[1]} 1"])
            rate(running, 2, [1])
            expect(page.locator("#top li")).to_have_text([f"{ASINS[1]} 3"])
            with refused.expect_console_message(lambda message: "CORS" in message.text):
                refused.goto(f"http://localhost:{shop}/")  # the same shop by another name: another origin
            expect(refused.locator("#top li")).to_have_count(0)
        finally:
            context.close()
