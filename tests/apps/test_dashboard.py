"""The dashboard in a real browser, on real runs: what it shows is what the run does, for every eye, hand and screen."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect

from actors.runtime.board import read_views
from actors.runtime.framing import Record, envelope_of
from actors.runtime.rundir import BOARD, path_for
from actors.runtime.values import DeadLetter
from actors.telemetry.watcher import Watcher
from tests.apps.test_numbers import Numbers
from tests.browser import chromium, visit
from tests.letters import put
from tests.loads import WATCHDOG_S, Running
from tests.monitors import entry_of

pytest.importorskip("aiohttp")
expect.set_options(timeout=1000 * WATCHDOG_S)
MONITOR = ("--monitor", "--set", "monitor.port=0", "--set", "monitor.interval_s=0.2")
FIRST_MS = 1_565_647_200_000
MARKUP = '1565647300000 <img/src=x/onerror="document.title=1"> <script>alert(1)</script> more'
TOKEN = "a token of some length"
HOSTS = ["Aaliayh"] * 4 + ["Dristen"] * 3 + ["Bofiza"] * 2 + ["Kamyree"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


class Connections(Running):
    """A run of ``connections`` without end, over a file that a test appends to, with the monitor."""

    def __init__(self, folder: Path, *words: str) -> None:
        self.log = folder / "access.log"
        self.log.write_bytes(b"")
        super().__init__(folder / "state", "run", "connections", str(self.log), "--set", "source.poll_s=0.05", "--set",
                         "window.start=clock", *MONITOR, *words)
        self.lines = 0

    def write(self, *lines: bytes) -> None:
        """Append lines, and wait until each has its outcome."""
        with self.log.open("ab") as file:
            file.write(b"".join(line + b"\n" for line in lines))
        self.lines += len(lines)
        wait_for(lambda: outcomes(self.state).get("read", 0) == self.lines, "all lines have an outcome")


def wait_for(condition: Callable[[], Any], what: str) -> Any:
    """Wait until something is so; return it."""
    deadline = time.monotonic() + WATCHDOG_S
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {WATCHDOG_S} s: {what}"
        time.sleep(0.01)
    return found


def outcomes(state: Path) -> dict[str, int]:
    """What has become of the records so far."""
    try:
        watcher = Watcher(path_for(state))
    except (OSError, ValueError):
        return {}
    try:
        return watcher.status().snapshot.outcomes
    finally:
        watcher.close()


def hour(number: int, hosts: list[str]) -> list[bytes]:
    """Lines of one hour, one for each host."""
    first = FIRST_MS + number * 3_600_000
    return [b"%d %s Zoe" % (first + 1000 * index, host.encode()) for index, host in enumerate(hosts)]


def row(page: Page, actor: str) -> dict[str, str]:
    """An actor's row, by the heads of the columns."""
    heads = page.locator("#actors thead th").all_inner_texts()
    return dict(zip(heads, page.locator(f'#actors tr[data-actor="{actor}"] > *').all_inner_texts(), strict=True))


def bars(page: Page) -> dict[str, str]:
    """The bars of the panel: what stands below each, and within."""
    return dict(page.evaluate("""() => [...document.querySelectorAll("#panel g.column")].map(
        (column) => [".below", ".inside"].map((part) => column.querySelector(part).textContent))"""))


@pytest.fixture(scope="module")
def connections(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connections]:
    """A run that has read one hour of lines and two that are no connections, and stands still."""
    with Connections(tmp_path_factory.mktemp("connections")) as running:
        running.write(*hour(0, HOSTS), MARKUP.encode(), b"1565647300000 a\xff\x00b Zoe")
        yield running


@pytest.fixture
def page(browser: Browser, connections: Connections) -> Iterator[Page]:
    """The page of that run, with its figures."""
    with visit(browser, entry_of(connections.state)) as opened:
        expect(opened.locator("#read")).to_have_text(str(connections.lines))
        yield opened


def test_the_figures_on_the_page_are_those_of_the_board(browser: Browser, tmp_path: Path) -> None:
    with Numbers(tmp_path / "state", *MONITOR, "--set", "aggregator.report_s=0", "--format", "json") as running:
        running.send(b"".join(b"%09d\n" % (number % 700) for number in range(1000)))
        running.until(lambda: outcomes(running.state).get("folded") == 1000, "1000 numbers are folded")
        with visit(browser, entry_of(running.state)) as page:
            expect(page.locator("#read")).to_have_text("1,000")
            expect(page.locator("#ready")).to_have_text("ready")
            expect(page.locator("#mode")).to_have_text("running")
            expect(page.locator("#bottleneck")).to_have_text("everybody waits for input")
            views = read_views(path_for(running.state) / BOARD)
            assert page.locator("#actors tbody tr").count() == len(views)
            for view in views:
                shown = row(page, view.actor)
                assert (shown["State"], shown["Gen."], shown["Restarts"], shown["Pid"], shown["Queue"]) == (
                    view.state, str(view.generation), "0", str(view.pid), str(view.queued))
            names = page.locator("#topology g.node").evaluate_all("nodes => nodes.map(node => node.dataset.stage)")
            assert names == ["reader", "parser", "aggregator.1", "writer.log", "writer.report", "writer.dead_letters"]
            curves = page.locator("#panel .legend li:not(.moment)")
            expect(curves).to_have_text(["unique700", "duplicates300"])


def test_an_actor_that_is_killed_is_seen_to_come_again_without_a_reload(browser: Browser, tmp_path: Path) -> None:
    with Connections(tmp_path) as running, visit(browser, entry_of(running.state)) as page:
        running.write(*hour(0, HOSTS))
        expect(page.locator("#read")).to_have_text(str(len(HOSTS)))
        page.evaluate("window.isTheSame = true")
        pid = running.views()["parser.1"].pid
        os.kill(pid, signal.SIGKILL)
        cells = page.locator('#actors tr[data-actor="parser.1"] > *')
        expect(cells.nth(4)).to_have_text("1")
        expect(cells.nth(3)).to_have_text("2")
        expect(page.locator("#happenings li .kind.bad")).to_have_text("died")
        expect(page.locator("#happenings li", has_text="died")).to_contain_text("parser.1 died (signal SIGKILL)")
        views = running.until(lambda views: views["parser.1"].pid not in (0, pid), "the next generation")
        expect(cells.nth(10)).to_have_text(str(views["parser.1"].pid))
        expect(cells.nth(1)).to_have_text("READY")
        assert page.evaluate("window.isTheSame")


def test_a_dead_letter_is_shown_with_its_place_and_as_text_whatever_is_in_it(
    page: Page, connections: Connections
) -> None:
    expect(page.locator("#dead")).to_have_text("2")
    expect(page.locator("#reasons li")).to_have_count(2)
    page.locator("#reasons button", has_text="fields").click()
    raw = page.locator("#letters pre.raw")
    expect(raw).to_have_text(MARKUP)
    expect(page.locator("#letters .place b")).to_have_text(f"{connections.log}:{len(HOSTS) + 1}")
    assert page.locator("#letters .detail").inner_text() == "expected 3 fields with one blank between them, got 4"
    assert page.locator("#letters img, #letters script").count() == 0
    page.locator("#reasons button", has_text="host").click()
    expect(raw).to_have_count(2)
    assert raw.nth(0).inner_text() == r"1565647300000 a\xff" + "\0b Zoe"
    assert raw.nth(1).inner_text().splitlines() == [
        "00000000  31 35 36 35 36 34 37 33 30 30 30 30 30 20 61 ff  |1565647300000 a.|",
        "00000010  00 62 20 5a 6f 65                                |.b Zoe|"]
    assert page.title().startswith("connections: running")


def test_a_dead_letter_of_a_record_is_shown_with_what_it_came_with(browser: Browser, tmp_path: Path) -> None:
    record = Record(71, None, time=1_565_647_204_351, key=b"<b>key</b>\xff", headers=(("trace", b"1"), ("none", None)))
    put(tmp_path / "state", DeadLetter("checker", "stars", "six", "live/0", "p", 71, 71, -1, b"",
                                       envelope=envelope_of(record), output="2"))
    with Connections(tmp_path) as running, visit(browser, entry_of(running.state)) as page:
        page.locator("#reasons button", has_text="stars").click()
        letter = page.locator("#letters article")
        expect(letter.locator(".place")).to_contain_text("live/0 offset 71")
        expect(letter.locator(".envelope")).to_have_text(
            "key: <b>key</b>\\xff\npublished: 2019-08-12T22:00:04.351Z\ntrace: 1\nnone: no value")
        expect(letter.locator(".more")).to_have_text(["output 2 of its record", "no value"])
        assert letter.locator(".raw, .envelope b").count() == 0


def test_a_dead_letter_that_comes_while_one_looks_is_shown(browser: Browser, tmp_path: Path) -> None:
    with Connections(tmp_path) as running, visit(browser, entry_of(running.state)) as page:
        expect(page.locator("#letters-empty")).to_be_visible()
        running.write(b"never Aaliayh Zoe")
        page.locator("#reasons button", has_text="timestamp").click()
        expect(page.locator("#letters pre.raw")).to_have_text("never Aaliayh Zoe")
        running.write(b"neither Aaliayh Zoe")
        expect(page.locator("#letters pre.raw").first).to_have_text("neither Aaliayh Zoe")
        expect(page.locator("#letters-empty")).to_be_hidden()


def test_the_panel_has_the_bars_of_the_newest_hour_and_of_those_before(browser: Browser, tmp_path: Path) -> None:
    with Connections(tmp_path) as running, visit(browser, entry_of(running.state)) as page:
        expect(page.locator("#panel-empty")).to_be_visible()
        running.write(*hour(0, HOSTS))
        first = {host: str(number) for host, number in Counter(HOSTS).items()}
        wait_for(lambda: bars(page) == first, "the bars of the first hour")
        expect(page.locator("#panel-unit")).to_have_text("connections, 2019-08-12 22:00:00 to 23:00:00 UTC")
        running.write(*hour(1, ["Aaliayh"]), *hour(2, ["Zoe", "Zoe"]))
        wait_for(lambda: bars(page) == {"Zoe": "2"}, "the bars of the newest hour")
        expect(page.locator("#look-back output")).to_have_text("newest")
        page.get_by_role("button", name="Earlier").focus()
        page.keyboard.press("Enter")
        wait_for(lambda: bars(page) == first, "the bars of the first hour again")
        page.get_by_role("slider", name="Which drawing").press("End")
        wait_for(lambda: bars(page) == {"Zoe": "2"}, "the newest again")


@pytest.mark.parametrize("width", [1280, 768, 400, 320])
def test_nothing_is_wider_than_the_screen(browser: Browser, connections: Connections, width: int) -> None:
    with visit(browser, entry_of(connections.state), viewport={"width": width, "height": 800}) as page:
        expect(page.locator("#panel g.column")).not_to_have_count(0)
        page.locator("summary").click()
        for button in page.locator("#reasons button").all():
            button.click()
            expect(page.locator("#letters pre.raw")).not_to_have_count(0)
            assert page.evaluate("document.documentElement.scrollWidth") <= width
        wide = page.evaluate("""() => [...document.querySelectorAll("main *")]
            .filter((element) => !element.closest(".scroll, pre, .unseen"))
            .filter((element) => element.getBoundingClientRect().right > innerWidth + 1)
            .map((element) => element.outerHTML.slice(0, 80))""")
        assert wide == []


@pytest.mark.parametrize("width", [760, 1280])
def test_no_figure_of_the_data_flow_stands_on_a_stage(
    browser: Browser, connections: Connections, width: int
) -> None:
    with visit(browser, entry_of(connections.state), viewport={"width": width, "height": 900}) as page:
        expect(page.locator("#topology tspan", has_text="credit")).to_have_count(1)
        assert page.evaluate("""() => {
            const boxes = (what) => [...document.querySelectorAll(what)].map((one) => one.getBoundingClientRect());
            const meet = (a, b) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
            const on = (text) => boxes("#topology .frame").some((frame) => meet(text, frame));
            return boxes("#topology text:has(tspan)").filter(on).length;
        }""") == 0


def test_everything_can_be_reached_and_used_by_keyboard(page: Page) -> None:
    expect(page.locator("#reasons li")).to_have_count(2)
    expect(page.locator("#panel g.column")).not_to_have_count(0)
    wanted = page.evaluate("""() => [...document.querySelectorAll("a, button, summary, input, [tabindex='0']")]
        .filter((one) => one.checkVisibility() && !one.disabled).map((one, index) => {
          one.dataset.stop = index;
          return one.id || one.getAttribute("aria-label") || one.getAttribute("aria-labelledby") || one.textContent;
        })""")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    reached = []
    for _ in range(len(wanted)):
        where, outline = page.evaluate(
            "[document.activeElement.dataset.stop, getComputedStyle(document.activeElement).outlineStyle]")
        reached.append(int(where))
        assert outline != "none", f"the focus on {wanted[int(where)]} cannot be seen"
        page.keyboard.press("Tab")
    assert [wanted[stop] for stop in reached] == wanted, "each once, in the order of the page"
    page.locator("#reasons button").first.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#letters pre.raw").first).to_be_visible()
    chart = page.get_by_role("slider", name="Throughput by outcome: moment")
    points = "async () => (await (await fetch('/api/history')).json()).at.length"
    wait_for(lambda: page.evaluate(points) > 4, "there are moments to choose from")
    chart.focus()
    before = chart.get_attribute("aria-valuetext")
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#throughput .legend .moment")).not_to_have_text("now")
    assert chart.get_attribute("aria-valuetext") != before
    page.locator(".skip").focus()
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"


CONTRAST = """() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgb = (color) => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = ([r, g, b]) => [r, g, b].map((part) => part / 255)
    .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4))
    .reduce((sum, part, index) => sum + part * [0.2126, 0.7152, 0.0722][index], 0);
  const behind = (element) => {
    const drawn = element.closest(".column .inside") ? element.parentNode.querySelector("rect")
      : element.closest(".node")?.querySelector(".frame");
    if (drawn) return rgb(getComputedStyle(drawn).fill);
    for (let at = element; at; at = at.parentElement) {
      const found = rgb(getComputedStyle(at).backgroundColor);
      if (found[3] === 255) return found;
    }
    return [255, 255, 255];
  };
  return [...document.querySelectorAll("body *")].filter((element) => element.checkVisibility()
      && !element.matches(":disabled, :disabled *, option, title, .unseen")
      && [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim())).map((element) => {
    const style = getComputedStyle(element);
    const [a, b] = [light(rgb(element instanceof SVGElement ? style.fill : style.color)), light(behind(element))];
    return [(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), element.outerHTML.slice(0, 90)];
  }).filter(([contrast]) => contrast < 4.5);
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_light_or_dark_as_the_system_is_and_always_readable(
    browser: Browser, connections: Connections, scheme: Any
) -> None:
    with visit(browser, entry_of(connections.state), color_scheme=scheme) as page:
        expect(page.locator("#panel g.column")).not_to_have_count(0)
        expect(page.locator("#reasons li")).to_have_count(2)
        page.locator("#reasons button").first.click()
        expect(page.locator("#letters pre.raw").first).to_be_visible()
        page.locator("summary").click()
        assert page.evaluate(CONTRAST) == []
        colour = "getComputedStyle(document.body).backgroundColor"
        before = page.evaluate(colour)
        assert (sum(map(int, before[4:-1].split(","))) > 380) == (scheme == "light")
        page.locator("#theme").focus()
        page.keyboard.press("Enter")
        after = page.evaluate(colour)
        assert after != before
        page.reload()
        expect(page.locator("#reasons li")).to_have_count(2)
        assert page.evaluate(colour) == after, "what was chosen is remembered"
        assert page.evaluate(CONTRAST) == []


def test_the_regions_of_the_page_have_names_and_changes_are_announced(page: Page) -> None:
    for name in ("What limits it", "Data flow", "Throughput by outcome", "Hosts with most connections", "Actors",
                 "Dead letters by reason", "What has happened"):
        expect(page.get_by_role("region", name=name).first).to_be_visible()
    assert page.get_by_role("main").count() == page.get_by_role("banner").count() == 1
    announced = page.locator("#announce")
    assert announced.get_attribute("aria-live") == "polite"
    expect(announced).to_contain_text("connections is running, ready.")
    assert page.get_by_role("columnheader", name="Actor", exact=True).count() == 1
    assert page.get_by_role("rowheader", name="reader.1").count() == 1


def test_a_run_is_scaled_and_stopped_from_the_page_when_that_is_allowed(browser: Browser, tmp_path: Path) -> None:
    given = ("--set", f"monitor.token_secret={TOKEN}")
    with Connections(tmp_path, "--set", "monitor.allow_control=true", "--set", "parser.workers=1", *given) as running:
        url = entry_of(running.state)
        port = urlsplit(url).port
        with visit(browser, url, may_lose_connection=True) as page:
            assert page.url == f"http://127.0.0.1:{port}/", "the token is not left in the address"
            running.write(*hour(0, HOSTS))
            page.get_by_role("button", name="One parser more").click()
            expect(page.locator("#answer")).to_have_text("parser: 2 workers from now on")
            running.until(lambda views: "parser.2" in views, "a second parser")
            expect(page.locator('#actors tr[data-actor="parser.2"]')).to_be_visible()
            page.get_by_role("button", name="One parser less").click()
            expect(page.locator('#actors tr[data-actor="parser.2"]')).to_have_count(0)
            page.get_by_role("button", name="Stop…").click()
            page.get_by_role("button", name="Go on").click()
            page.get_by_role("button", name="Stop…").press("Enter")
            assert running.process.poll() is None
            page.get_by_role("button", name="Stop the run").press("Enter")
            assert running.wait() in (0, 3)
            expect(page.locator("#link")).to_have_text("The run has ended. These are its last figures.")
            expect(page.locator("#read")).to_have_text(str(len(HOSTS)))
            expect(page.get_by_role("button", name="Stop…")).to_be_disabled()
            expect(page.locator("#why")).to_be_hidden()
            with Connections(tmp_path, "--set", f"monitor.port={port}"):
                expect(page.locator("#link")).to_have_text(
                    "The run has ended. These are its last figures. "
                    "Another run answers here and wants its own token: open the address that it shows.")
                expect(page.locator("#read")).to_have_text(str(len(HOSTS)))
            with Connections(tmp_path, "--set", f"monitor.port={port}", *given) as another:
                another.until(bool, "a board")  # what lies there before is of the run that was killed
                expect(page.locator("#link")).to_contain_text("wants its own token")  # though that is the same
                page.context.new_page().goto(entry_of(another.state))
                expect(page.locator("#ready")).to_have_text("ready")
                expect(page.locator("#link")).to_have_text("")
                expect(page.locator("#answer")).to_have_text("")


def test_without_leave_nothing_can_be_commanded(page: Page) -> None:
    expect(page.locator("#control")).to_be_hidden()


def test_a_page_that_has_lost_the_monitor_says_so_and_comes_back_by_itself(browser: Browser, tmp_path: Path) -> None:
    with Connections(tmp_path) as running, visit(browser, entry_of(running.state), may_lose_connection=True) as page:
        running.write(*hour(0, HOSTS))
        expect(page.locator("#read")).to_have_text(str(len(HOSTS)))
        seen = "window.said = []; new MutationObserver(() => said.push(document.getElementById('link').textContent))"
        page.evaluate(seen + ".observe(document.getElementById('link'), {childList: true, subtree: true}); 0")
        os.kill(running.views()["monitor.1"].pid, signal.SIGKILL)
        back = "said.some((text) => text.startsWith('Connection lost')) && said.at(-1) === ''"
        wait_for(lambda: page.evaluate(back), "the page has said that the connection was lost, and then no more")
        running.write(*hour(0, HOSTS))
        expect(page.locator("#read")).to_have_text(str(2 * len(HOSTS)))


def test_what_is_served_says_nothing_that_a_strict_policy_forbids() -> None:
    web = Path(__file__).parents[2] / "actors" / "telemetry" / "web"
    for path in web.glob("*.js"):
        text = path.read_text()
        if path.name != "d3.min.js":
            assert "innerHTML" not in text and "outerHTML" not in text and "insertAdjacentHTML" not in text, path.name
            assert "eval(" not in text and 'setAttribute("style"' not in text, path.name
            assert "https://" not in text and "http://" not in text, path.name
    page = (web / "index.html").read_text()
    assert " style=" not in page and " onclick=" not in page and "://" not in page
