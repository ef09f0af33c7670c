#!/usr/bin/env python3
"""Take the pictures of the dashboard that the documentation shows, from real runs under load.

    scripts/screenshots [--out docs/images] [--seconds 25]

The main job loads sample logs with bad lines into embedded stores, and one of its parsers is killed: pictures of the
whole page, wide in light and dark, and as on a telephone. Then the application ``connections`` follows a log: a picture
of its panel. At last the page of ``ascp``, of sample lines: all transfers, and one. A picture of 300 KB or more is an
error.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from playwright.sync_api import Browser, Page  # noqa: E402

from actors.runtime.rundir import MONITOR_TOKEN, MONITOR_URL, path_for  # noqa: E402
from scripts.make_ascp import make_lines  # noqa: E402
from scripts.make_connections import make_blocks  # noqa: E402
from scripts.make_logs import write_logs  # noqa: E402
from tests.browser import chromium, visit  # noqa: E402
from tests.loads import DEVICE_TYPES, Load, Running  # noqa: E402

MOST_BYTES = 300_000
WATCHDOG_S = 120.0
#: The same logs again and again, under other names, for as long as it takes.
_FILES, _COPIES, _RECORDS = 6, 60, 120_000
_MONITOR = ("monitor.enabled=true", "monitor.port=0", "monitor.allow_control=true")
_STORES = tuple(f"sinks.{name}.type=lmdb" for name in DEVICE_TYPES)


def main() -> int:
    """Take all pictures; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "images", help="folder for the pictures")
    parser.add_argument("--seconds", type=float, default=25.0, help="how long the load goes on before the pictures")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, chromium() as browser:
        taken = [*under_load(browser, Path(folder), options.out, options.seconds),
                 *of_a_panel(browser, Path(folder), options.out), *of_transfers(browser, Path(folder), options.out)]
    for path in taken:
        size = path.stat().st_size
        print(f"{path}: {size:,} bytes")
        if size >= MOST_BYTES:
            print(f"{path}: expected less than {MOST_BYTES:,} bytes", file=sys.stderr)
            return 1
    return 0


def under_load(browser: Browser, folder: Path, out: Path, seconds: float) -> list[Path]:
    """The whole page, while logs are loaded."""
    logs = folder / "logs"
    for path in write_logs(logs, files=_FILES, records=_RECORDS, bad_rate=0.004):
        for copy in range(1, _COPIES):
            os.link(path, logs / f"2018{copy:04d}{path.name[8:]}")
    sets = ("source.rename=none", "budget.max_error_rate=1", *_STORES, *_MONITOR)
    taken: list[Path] = []
    with Load(logs / "*.tsv.gz", folder / "appsinstalled", *sets) as running:
        url = url_of(running)
        began = time.monotonic()
        running.kill("parser.2", 30)
        wait_for(lambda: time.monotonic() - began > seconds, "the load has gone on for a while")
        for name, width, scheme in (("1280-light", 1280, "light"), ("1280-dark", 1280, "dark"), ("400", 400, "light")):
            with visit(browser, url, viewport={"width": width, "height": 800}, color_scheme=scheme) as page:
                page.locator("#reasons button").first.wait_for()
                if scheme == "light":
                    page.locator("#reasons button").first.click()
                    page.locator("#letters pre.raw").first.wait_for()
                settle(page)
                taken.append(out / f"dashboard-{name}.png")
                page.screenshot(path=taken[-1], full_page=True)
        running.process.send_signal(signal.SIGTERM)
        running.wait()
    return taken


def of_a_panel(browser: Browser, folder: Path, out: Path) -> list[Path]:
    """The panel of an application, with something to look back at."""
    log, taken = folder / "access.log", out / "dashboard-panel.png"
    log.write_bytes(b"")
    words = [word for one in ("window.start=clock", "source.poll_s=0.05", *_MONITOR) for word in ("--set", one)]
    with Running(folder / "connections", "run", "connections", str(log), *words) as running:
        with visit(browser, url_of(running), viewport={"width": 1280, "height": 800}) as page, log.open("ab") as file:
            for block in make_blocks(60_000, 40, span_s=4 * 3600):
                file.write(block)
                file.flush()
                settle(page)
            page.locator("#look-back").wait_for()
            page.locator("#panel-card").screenshot(path=taken)
        running.process.send_signal(signal.SIGTERM)
        running.wait()
    return [taken]


def of_transfers(browser: Browser, folder: Path, out: Path) -> list[Path]:
    """The page of what an application has stored: what there is, and one of them."""
    log, state = folder / "ascp.log", folder / "ascp"
    log.write_bytes(b"".join(islice(make_lines(1, hosts=4, processes=3), 30_000)))
    words = [sys.executable, "-m", "actors.cli"]
    subprocess.run([*words, "run", "ascp", str(log), "--state", str(state), "--quiet", "--reference",
                    "2018-11-01T00:00:00Z"], cwd=ROOT, check=True)
    with subprocess.Popen([*words, "browse", "ascp", "--state", str(state)], cwd=ROOT, stdout=subprocess.PIPE,
                          text=True) as served:
        try:
            said = served.stdout.readline() if served.stdout is not None else ""
            url, _, path = said.strip().partition(" with the token in ")
            with visit(browser, f"{url}?token={Path(path).read_text()}", timezone_id="UTC",
                       viewport={"width": 1280, "height": 800}) as page:
                page.locator("#dots circle").first.wait_for()
                page.screenshot(path=out / "ascp-1280-light.png", full_page=True)
                page.locator("#items tbody tr button").nth(24).click()
                page.locator("#charts path.line").first.wait_for()
                page.locator("#chosen").screenshot(path=out / "ascp-session-1280-light.png")
        finally:
            served.terminate()
    return [out / "ascp-1280-light.png", out / "ascp-session-1280-light.png"]


def settle(page: Page) -> None:
    """Let the page take some looks more at the run."""
    seen: set[str] = set()

    def has_seen_some() -> bool:
        seen.add(page.locator("#uptime").inner_text())
        return len(seen) > 3

    wait_for(has_seen_some, "newer looks")


def url_of(running: Running) -> str:
    """Where the monitor of a run lets a browser in."""
    path = path_for(running.state) / MONITOR_URL
    wait_for(lambda: path.exists() and path.read_text().strip() != "", "the monitor answers")
    return f"{path.read_text().strip()}?token={path.with_name(MONITOR_TOKEN).read_text()}"


def wait_for(condition: Callable[[], object], what: str) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + WATCHDOG_S
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"not within {WATCHDOG_S:g} s: {what}")
        time.sleep(0.05)


if __name__ == "__main__":
    sys.exit(main())
