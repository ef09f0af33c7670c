"""The page of what is stored, in a real browser: beside a run and without one, for who has the token alone."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from scripts.make_ascp import make_lines
from tests.apps.test_ascp_runs import DATED, run
from tests.apps.test_ask import ELSEWHERE, answer
from tests.apps.test_dashboard import CONTRAST, MONITOR, wait_for
from tests.browser import chromium, visit
from tests.loads import ROOT, WATCHDOG_S, Running
from tests.monitors import entry_of

pytest.importorskip("aiohttp")
expect.set_options(timeout=1000 * WATCHDOG_S)

#: Who writes these lines would like to have something run, or to be read as something else.
MARKUP = "<img src=x onerror=alert(1)><script>alert(2)</script>'\"&lt;\u202egnp"
HOSTILE = [
    line.encode() for line in (
        f"Oct 10 14:30:00 host-0 ascp[666]: LOG FASP Session Start uuid=0-666 op=send status=started source={MARKUP}",
        'Oct 10 14:30:00 host-0 ascp[666]: LOG FASP Session Params uuid=0-666 user="<b>root</b>" targetrate=100000000',
        *(f"Oct 10 14:30:{second:02d} host-0 ascp[666]: LOG Sender bl t/o/r/d={100 * second}/{99 * second}/{second}/0 "
          f"rate_rtt b/l/h/s=2/2/{second}/5 rate t/m=100000000/5000000 prog t/f/e={10**7 * second}/0/{second * 10**6}"
          for second in range(1, 31)),
        f"Oct 10 14:30:31 host-0 ascp[666]: LOG FASP Session Stop uuid=0-666 op=send status=error source={MARKUP}")]
LINES = list(islice(make_lines(4, hosts=2, processes=3, longest_s=30), 10_000))
SESSION = "host-0/666/1539181800000"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a run over more than two hundred sessions has left."""
    folder = tmp_path_factory.mktemp("stored")
    (folder / "ascp.log").write_bytes(b"".join([*LINES, *(line + b"\n" for line in HOSTILE)]))
    done = run(folder / "state", "ascp", str(folder / "ascp.log"))
    assert done.returncode == 0, done.stderr
    return folder / "state"


class Served:
    """``thresher browse``: where it is, and what has to be shown."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        self.process = process
        said = process.stdout.readline()
        self.url, _, path = said.strip().partition(" with the token in ")
        self.path = Path(path)
        self.token = self.path.read_text() if path else ""
        self.entry = f"{self.url}?token={self.token}"

    def ask(self, path: str, token: str | None = None) -> tuple[int, str]:
        """Ask as a program does."""
        headers = {"Authorization": f"Bearer {self.token if token is None else token}"}
        try:
            with urllib.request.urlopen(
                    urllib.request.Request(self.url + path, headers=headers), timeout=WATCHDOG_S) as answered:
                return answered.status, answered.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()


@contextmanager
def served(*words: str) -> Iterator[Served]:
    """A page that is served until the end, which is asked for as Ctrl-C does."""
    with subprocess.Popen([sys.executable, "-m", "actors.cli", "browse", *words], cwd=ROOT, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True) as process:
        try:
            found = Served(process)
            yield found
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=WATCHDOG_S)
            assert (process.returncode, errors) == (0, "")
            assert not found.path.exists()
        finally:
            process.kill()


@pytest.fixture(scope="module")
def page_of(state: Path) -> Iterator[Served]:
    with served("ascp", "--state", str(state)) as found:
        yield found


def cells(page: Page) -> list[list[str]]:
    """The table."""
    found: list[list[str]] = page.evaluate("""() => [...document.querySelectorAll("#items tbody tr")].map(
        (row) => [...row.cells].map((cell) => cell.innerText.trim()))""")
    return found


def test_a_period_is_chosen_and_all_its_transfers_are_there_page_by_page(browser: Browser, page_of: Served,
                                                                         state: Path) -> None:
    expected = answer("ascp", "transfers", "--state", str(state))
    with visit(browser, page_of.entry, timezone_id="UTC") as page:
        expect(page.locator("#items tbody tr")).to_have_count(200)
        assert page.url == page_of.url and page_of.token not in page.content()
        expect(page.locator("#dots circle")).to_have_count(len([row for row in cells(page) if row[8] != "–"]))
        found = cells(page)
        page.locator("#older").click()
        expect(page.locator("#items tbody tr")).to_have_count(len(expected) - 200)
        found += cells(page)
        assert sorted((row[2], row[3], row[0]) for row in found) == sorted(
            (*each["session"].split("/")[:2], each["start"][:19].replace("T", " ")) for each in expected)
        page.locator("#newest").click()
        page.locator("#within").fill("host-1")
        page.locator("#last").fill("2018-10-10T13:05:00")
        page.get_by_role("button", name="Show").click()
        wait_for(lambda: {row[2] for row in cells(page)} == {"host-1"}, "the host alone")
        assert max(row[1] for row in cells(page)) <= "2018-10-10 13:05:00"
        shared = page.url
        page.locator("#within").fill("nobody")
        page.get_by_role("button", name="Show").click()
        expect(page.locator("#empty")).to_have_text("No transfers there.")
        page.goto(shared)
        page.reload()
        wait_for(lambda: {row[2] for row in cells(page)} == {"host-1"}, "what the address says")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
def test_one_transfer_is_chosen_and_drawn_and_what_is_hostile_in_it_is_text(
        browser: Browser, page_of: Served, state: Path, width: int, scheme: Any) -> None:
    (said,) = answer("ascp", "session", SESSION, "--state", str(state))
    with visit(browser, page_of.entry, timezone_id="UTC", viewport={"width": width, "height": 800},
               color_scheme=scheme) as page:
        page.locator("#dots circle.bad").click()
        expect(page.locator("#charts section")).to_have_count(3)
        expect(page.locator("#chosen-title")).to_have_text(SESSION)
        expect(page.locator("#chosen-title")).to_be_in_viewport()
        facts = dict(zip(page.locator("#facts dt").all_inner_texts(), page.locator("#facts dd").all_text_contents(),
                         strict=True))
        assert said["source"] == MARKUP and facts["source"] == MARKUP.replace("\u202e", "\\u{202e}")
        assert (facts["user"], facts["status"], facts["mean rate"]) == ("<b>root</b>", "error", "80.0 Mbit/s")
        assert (facts["started"], facts["sent again"]) == ("2018-10-10 14:30:00", "1 %")
        legends = [" ".join(each.split()) for each in page.locator("#charts .legend").all_inner_texts()]
        assert legends[0].endswith("rate 80.0 Mbit/s target 100 Mbit/s minimum 5.00 Mbit/s")
        assert legends[1].endswith("sent again 1 %") and legends[2].endswith("b 2 l 2 h 30 s 5")
        page.locator("#charts .plot").first.press("Home")
        expect(page.locator("#charts .moment").first).to_have_text("14:30:01")
        assert all(len(path) > 100 for path in page.evaluate(
            "() => [...document.querySelectorAll('#charts path.line')].map((path) => path.getAttribute('d'))"))
        assert page.evaluate("document.querySelectorAll('img, #charts script, #items b').length") == 0
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate(CONTRAST) == []
        page.reload()
        expect(page.locator("#charts section")).to_have_count(3)


def test_nothing_is_answered_without_the_token_and_it_is_this_user_s_alone(page_of: Served) -> None:
    assert stat.S_IMODE(page_of.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(page_of.path.parent.stat().st_mode) == 0o700
    for path in ("", "browse", "static/browse.js", "api/browse", "api/browse/items", f"api/browse/charts?id={SESSION}",
                 "livez", "api/status"):
        for token in ("", "x" * 32):
            assert page_of.ask(path, token)[0] == 401
    assert page_of.ask("?token=wrong", "")[0] == 401
    for path, why in (("items?first=x", "first: expected ms since 1970, got 'x'"),
                      ("charts", "id: expected that of an"), ("items?last=" + "9" * 14, "last: expected ms"),
                      ("items?within=" + "a" * 1001, "at most 1000")):
        status, text = page_of.ask(f"api/browse/{path}")
        assert status == 400 and why in text
    assert page_of.ask("api/status")[0] == 404
    assert '"charts":null' in page_of.ask("api/browse/charts?id=host-0/1/1")[1]


def test_what_cannot_be_shown_is_a_sentence(browser: Browser, tmp_path: Path) -> None:
    for words, text in (
            ((), "No transfers yet. Nothing has been written yet."),
            (ELSEWHERE, "As it is configured there is nothing to show: sink events (")):
        with served("ascp", "--state", str(tmp_path / "none"), *words) as found, visit(browser, found.entry) as page:
            expect(page.locator("#empty:not([hidden]), #problem:not([hidden])")).to_contain_text(text)
            assert page.locator("#dots svg").is_hidden() and page.locator("#rows").is_hidden()
    assert not (tmp_path / "none").exists()
    (tmp_path / "bad" / "events.lmdb").mkdir(parents=True)
    (tmp_path / "bad" / "events.lmdb" / "data.mdb").write_bytes(b"no store")
    with served("ascp", "--state", str(tmp_path / "bad")) as found, visit(browser, found.entry) as page:
        expect(page.locator("#problem")).to_contain_text("The store cannot be asked now: lmdb ")
    done = subprocess.run([sys.executable, "-m", "actors.cli", "browse", "appsinstalled"], cwd=ROOT,
                          capture_output=True, text=True, timeout=WATCHDOG_S, check=False)
    assert done.returncode == 78 and "appsinstalled has no page to look at" in done.stderr


def test_beside_a_run_the_page_follows_what_comes_and_is_found_from_the_dashboard(browser: Browser, tmp_path: Path
                                                                                  ) -> None:
    log = tmp_path / "ascp.log"
    log.write_bytes(b"".join(line + b"\n" for line in HOSTILE[:12]))
    with Running(tmp_path / "state", "run", "ascp", str(log), "--follow", "--set", "source.poll_s=0.05", *MONITOR,
                 *DATED) as running, log.open("ab", 0) as out:
        wait_for((tmp_path / "state" / "events.lmdb" / "data.mdb").exists, "a store")
        with visit(browser, entry_of(running.state), timezone_id="UTC", may_lose_connection=True) as page:
            page.get_by_role("link", name="Transfers").click()
            page.locator("#items tbody button").click()
            expect(page.locator("#chosen-unit")).to_have_text("more may come")
            page.evaluate("window.isTheSame = true")
            out.write(b"".join(line + b"\n" for line in HOSTILE[12:-1]))
            expect(page.locator("#charts .moment").first).to_have_text("2018-10-10 14:30:30, the last one")
            out.write(HOSTILE[-1] + b"\n")
            expect(page.locator("#chosen-unit")).to_have_text("complete")
            assert page.evaluate("window.isTheSame")
            page.context.set_offline(True)
            expect(page.locator("#mode")).to_have_text("not connected")
            before = running.views()["monitor.1"].pid
            os.kill(before, signal.SIGKILL)
            running.until(lambda views: views["monitor.1"].pid not in (0, before), "another monitor")
            page.context.set_offline(False)
            expect(page.locator("#mode")).to_have_text("newest")
            expect(page.locator("#chosen-unit")).to_have_text("complete")
            page.get_by_role("link", name="Dashboard").click()
            expect(page.locator("#bottleneck")).not_to_be_empty()
