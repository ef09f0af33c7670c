"""Runs into Redis, as real processes: writers, supervisors and servers are killed; nothing is lost without a word."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path

from tests.loads import Running, assert_counts_add_up
from tests.pipelines.kept import KEYS
from tests.powercut.cuts import BAD_EVERY, write_numbers
from tests.redis import Redis, Watched, until
from tests.servers import Memcached, free_port

FILES, LINES = 3, 2000
SMALL = ("flow.batch_bytes=300", "flow.window_batches=4", "restart.max_backoff_s=0.2", "restart.intensity=50",
         "budget.max_error_rate=0.5", "run.max_outage_s=0")


def keep(folder: Path, url: str, *sets: str, rate_hz: int = 0, target: str = "kept", output: str = "out") -> Running:
    every = (f"sinks.store.url={url}", "sinks.store.timeout_s=1", f"source.pattern={folder}/data/*.txt",
             f"flow.rate_hz={rate_hz}", *SMALL, *sets)
    return Running(folder / "state", "run", f"tests.pipelines.{target}", "--format", "json",
                   *(word for item in every for word in ("--set", item)), output=folder / output)


def good(files: int = FILES) -> list[int]:
    return [number for number in range(files * LINES) if number % BAD_EVERY]


def expect_all(server: Redis, files: int = FILES) -> None:
    """The last number of each key, each in the set of its hundred and in no other."""
    last = {number % KEYS: number for number in good(files)}
    assert server.contents() == {b"%d" % key: b"%d" % number for key, number in last.items()}
    sets: dict[bytes, list[tuple[bytes, float]]] = {}
    for number in sorted(last.values()):
        sets.setdefault(b"by-%d" % (number // 100), []).append((b"%d" % (number % KEYS), float(number)))
    assert {name: server.entries(name) for name in server.ask("KEYS", "by-?*")} == sets


def until_noted(running: Running, words: str) -> None:
    """Wait until the writer says why it waits."""
    running.until(lambda views: re.search(words, views["writer.store"].note) is not None, f"a note with {words!r}")


def until_more(running: Running, batches: int = 2) -> None:
    """Wait until this writer has written some more."""
    before = running.until(lambda views: "writer.store" in views, "a writer")["writer.store"].batches
    running.until(lambda views: views["writer.store"].batches >= before + batches, "some more batches")


def test_whoever_is_killed_stopped_or_full_each_key_and_entry_is_as_without_it(tmp_path: Path) -> None:
    write_numbers(tmp_path, FILES, LINES)
    with Redis() as server:
        with keep(tmp_path, server.url(), rate_hz=800) as running:
            running.kill("writer.store", 2)
            server.pause()
            until_noted(running, "no answer for 1 s")
            server.resume()
            until_more(running)
            server.ask("CONFIG", "SET", "maxmemory", "1")
            until_noted(running, "OOM command not allowed")
            server.ask("CONFIG", "SET", "maxmemory", "0")
            until_more(running)
            server.kill()
            until_noted(running, "connection|reset")
            server.start()
            until_more(running)
            os.kill(running.process.pid, signal.SIGKILL)
            running.process.wait()
        with keep(tmp_path, server.url(), rate_hz=4000, output="again") as running:
            running.kill("writer.store", 3)
            running.kill("writer.store", 3)
            assert running.wait() == 0, running.output()
        expect_all(server)
    assert assert_counts_add_up(tmp_path / "state")["written"] == len(good())


def test_a_server_that_comes_back_without_what_was_committed_ends_the_run_until_somebody_decides(
    tmp_path: Path
) -> None:
    write_numbers(tmp_path, 1, LINES)
    with Redis({"appendonly": "no"}) as server:
        with keep(tmp_path, server.url(), rate_hz=800) as running:
            running.until(lambda views: views["writer.store"].batches >= 10, "ten batches")
            server.restart()
            assert running.wait() == 1, running.output()
        said = r"has lost what it had acknowledged, and nobody holds it any more: positions 0 to \d+ of "
        assert re.search(said, running.output()), running.output()
        with keep(tmp_path, server.url(), output="again") as running:
            assert running.wait() == 1, running.output()
        assert re.search(said, running.output()), running.output()
        assert server.contents() == {}
        (tmp_path / "state" / "store.redis").unlink()
        with keep(tmp_path, server.url(), output="at last") as running:
            assert running.wait() == 0, running.output()
        assert server.contents()[b"%d" % (good(1)[-1] % KEYS)] == b"%d" % good(1)[-1]


def test_what_a_server_that_came_back_from_an_older_file_has_lost_is_written_again_where_it_is_not_committed(
    tmp_path: Path
) -> None:
    write_numbers(tmp_path, 1, LINES)
    port = free_port()
    with Redis({"appendonly": "no"}) as server, keep(
            tmp_path, server.url(), f"sinks.copy.server=127.0.0.1:{port}", "flow.window_batches=100", rate_hz=1200,
            target="kept_twice") as running:
        until_more(running, 2)
        server.ask("SAVE")
        until_more(running, 3)
        had = len(server.contents())
        server.restart()  # while the other sink is down nothing is committed
        until(lambda: len(server.contents()) > had, "the next generation of the writer does not write")
        with Memcached(port) as copy:
            assert running.wait() == 0, running.output()
            expected = {b"%d" % number: b"%d" % -number for number in good(1)}
            assert server.contents() == expected
            assert copy.get_many(list(expected)) == expected
    (died,) = running.of("died")
    assert (died["actor"], died["how"]) == ("writer.store", "exit code 75")


def test_a_failover_is_waited_for_and_with_a_replica_that_is_waited_for_nothing_is_missing(tmp_path: Path) -> None:
    write_numbers(tmp_path, 1, LINES)
    with Watched() as watched:
        first, second = watched.nodes
        with keep(tmp_path, watched.url(), "sinks.store.replicas=1", rate_hz=1500) as running:
            running.until(lambda views: views["writer.store"].batches >= 3, "some batches")
            first.kill()
            watched.until_master(second)
            first.start()
            first.ask("REPLICAOF", "127.0.0.1", second.port)  # the Sentinels tell it, too, some ten seconds later
            assert running.wait() == 0, running.output()
        expect_all(second, 1)
        assert [event["actor"] for event in running.of("outage")] == ["writer.store"] * len(running.of("outage"))


def test_what_shards_emit_is_there_once_whoever_is_killed_and_missed_when_it_is_gone(tmp_path: Path) -> None:
    log, minutes = tmp_path / "ratings.log", 120
    log.write_text("".join(f"{minute * 60_000 + at} B{at} {at}.0\n" for minute in range(minutes) for at in range(5)))
    with Redis() as server:

        def rank(output: str, *sets: str) -> Running:
            every = (f"sinks.top.url={server.url()}", "flow.batch_bytes=200", "restart.intensity=50",
                     "restart.max_backoff_s=0.2", *sets)
            return Running(tmp_path / "state", "run", "tests.pipelines.ranked_kept", str(log), "--once", "--format",
                           "json", *(word for item in every for word in ("--set", item)), output=tmp_path / output)

        with rank("out", "flow.rate_hz=150") as running:
            running.kill("writer.top", 2)
            running.kill("aggregator.1", 5)
            running.kill("writer.top", 2)
            running.until(lambda views: views["writer.top"].batches >= 2, "two batches more")
            os.kill(running.process.pid, signal.SIGKILL)
            running.process.wait()
        with rank("again") as running:
            assert running.wait() == 0, running.output()
        found = {int(key): json.loads(value)["top"][0] for key, value in server.contents().items()}
        assert found == {minute * 60_000: ["B4", 1, 4.0] for minute in range(minutes)}
        server.ask("FLUSHALL")
        with rank("at last") as running:
            assert running.wait() == 1, running.output()
        assert re.search(r"positions 0 to \d+ of aggregator\.1@", running.output()), running.output()
