"""A broker of ours that is ahead of its reader, and outages on both sides, as operators see them."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from actors.runtime.rundir import path_for
from actors.telemetry.model import Snapshot
from actors.telemetry.watcher import Watcher
from tests.browser import chromium, visit
from tests.loads import ROOT, WATCHDOG_S, Running
from tests.monitors import ask, entry_of, eventually, series, url_of, value
from tests.servers import Memcached, free_port
from tests.topics import Feed

pytest.importorskip("aiohttp")
expect.set_options(timeout=1000 * WATCHDOG_S)


def following(folder: Path, server: Memcached, *more: str) -> Running:
    sets = ("monitor.port=0", "monitor.interval_s=0.1", f"sinks.store.server={server.address}", *more)
    return Running(folder / "state", "run", "tests.pipelines.behind", "--monitor", "--format", "json",
                   *(word for each in sets for word in ("--set", each)))


def until(running: Running, condition: Callable[[Snapshot], Any], what: str) -> Snapshot:
    """Look at a run until something is so."""
    def look() -> Snapshot | None:
        assert running.process.poll() is None, f"the run ended before {what}:\n{running.output()}"
        try:
            with closing(Watcher(path_for(running.state))) as watcher:
                seen = watcher.status().snapshot
        except (OSError, ValueError):  # it has not begun
            return None
        return seen if condition(seen) else None

    found = eventually(look, what)
    assert isinstance(found, Snapshot)
    return found


def behind(records: int) -> Callable[[Snapshot], bool]:
    return lambda seen: seen.lag is not None and seen.lag.records == records


def verb(running: Running, *words: str) -> str:
    done = subprocess.run([sys.executable, "-m", "actors.cli", *words, "--state", str(running.state)], cwd=ROOT,
                          capture_output=True, text=True, timeout=WATCHDOG_S, check=True)
    return done.stdout


def test_what_is_not_stored_yet_is_the_lag_and_is_shown_everywhere_while_the_sink_is_down_and_gone_when_it_is_back(
    tmp_path: Path
) -> None:
    feed = Feed(tmp_path / "topic", partitions=2)
    feed.append(*((b"k%d" % number, b"v") for number in range(300)))
    server = Memcached(free_port())
    with following(tmp_path, server, "run.max_outage_s=0") as running:
        until(running, behind(300), "a lag of all")
        feed.append(*((b"n%d" % number, b"v") for number in range(100)))
        seen = until(running, lambda seen: behind(400)(seen) and seen.not_ready and "(for " in seen.not_ready[0],
                     "a lag that grows while the sink is down")
        assert seen.lag is not None
        assert [each.records for each in seen.lag.worst] == sorted((e.records for e in seen.lag.worst), reverse=True)
        assert {each.name.rpartition("/")[2] for each in seen.lag.worst} == {"0", "1"}
        worst = seen.lag.worst[0]
        said = f"lag: 400 records in 2 partitions; worst {worst.name} {worst.records}, "
        assert said in verb(running, "top", "--once").replace("\n  ", " ")
        assert "lag: 400 records in 2 partitions" in verb(running, "status", "tests.pipelines.behind")
        status = json.loads(verb(running, "status", "tests.pipelines.behind", "--json"))
        assert (status["lag"]["records"], len(status["lag"]["worst"])) == (400, 2)
        url = url_of(running.state)
        answer = ask(f"{url}readyz")
        assert (answer.status, "writer.store waits: memcached" in answer.text, " (for " in answer.text) == (
            503, True, True)
        found = series(ask(f"{url}metrics").text)
        assert value(found, "thresher_lag_records") == 400
        assert sum(number for (name, _), number in found.items() if name == "thresher_partition_lag_records") == 400
        assert value(found, "thresher_actor_down_seconds", actor="writer.store", stage="writer") > 0
        with server:
            until(running, lambda seen: behind(0)(seen) and not seen.not_ready, "no lag, and ready again")
            assert server.items() == 400
            assert eventually(lambda: ask(f"{url}readyz").status == 200, "ready")
            running.process.send_signal(signal.SIGTERM)
            assert running.wait() == 0, running.output()


def test_a_source_that_is_down_makes_the_run_not_ready_and_its_lag_old_and_is_waited_for(tmp_path: Path) -> None:
    feed = Feed(tmp_path / "topic")
    feed.append((b"a", b"1"))
    with Memcached() as server, following(tmp_path, server, "run.max_outage_s=0") as running:
        until(running, lambda seen: behind(0)(seen) and not seen.not_ready, "all is stored")
        manifest = tmp_path / "topic" / "manifest.json"
        manifest.rename(tmp_path / "away")
        manifest.mkdir()
        seen = until(running, lambda seen: seen.not_ready and seen.lag is not None and seen.lag.age_s > 3, "an outage")
        assert seen.not_ready[0].startswith("reader.1 waits: topic ")
        (down,) = [each.view.down_s for each in seen.actors if each.view.actor == "reader.1"]
        assert down > 1
        manifest.rmdir()
        (tmp_path / "away").rename(manifest)
        feed.append((b"b", b"2"))
        until(running, lambda seen: behind(0)(seen) and not seen.not_ready and seen.outcomes.get("read") == 2,
              "it goes on")
        assert server.get_many([b"a", b"b"]) == {b"a": b"1", b"b": b"2"}
        running.process.send_signal(signal.SIGTERM)
        assert running.wait() == 0, running.output()
    assert {event["actor"] for event in running.of("outage")} == {"reader.1"}


def test_the_dashboard_has_the_sum_and_each_partition_and_why_the_run_is_not_ready(tmp_path: Path) -> None:
    feed = Feed(tmp_path / "topic", partitions=2)
    feed.append(*((b"k%d" % number, b"v") for number in range(1500)))
    server = Memcached(free_port())
    with following(tmp_path, server, "run.max_outage_s=0") as running, chromium() as browser:
        seen = until(running, behind(1500), "a lag")
        assert seen.lag is not None
        with visit(browser, entry_of(running.state)) as page:
            expect(page.locator("#lag")).to_have_text("1,500")
            expect(page.locator("#why")).to_contain_text("writer.store waits: memcached")
            page.locator("details summary").first.click()
            expect(page.locator("#partitions tbody tr")).to_have_text(
                [f"{each.name}{each.records:,}" for each in seen.lag.worst])
            with server:
                expect(page.locator("#lag")).to_have_text("0")
                expect(page.locator("#ready")).to_have_text("ready")
