"""A memcached that is down, slow, out of its mind, or hangs up: blocked, retried, nothing marked done, nothing lost."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from actors.runtime.ledger import read_units
from tests.loads import Load, Views
from tests.pipelines.troubled import RECORDS
from tests.proxy import Proxy
from tests.servers import Memcached, free_port
from tests.troubled_loads import Gate, Results, expected, found, start, until_status_shows

WRITER = "writer.store"


class Outage(msgspec.Struct, frozen=True):
    """How it is begun, and what the writer then says of its server."""

    begin: Callable[[Proxy], None]
    problem: str


def _slow(proxy: Proxy) -> None:
    proxy.delay_s = 2.0


def _mad(proxy: Proxy) -> None:
    proxy.garbage = b"\x00\xff what is a set?\r\n" * 100


def _curt(proxy: Proxy) -> None:
    proxy.cut_after = 300  # less than a batch


OUTAGES = {
    "refusing": Outage(Proxy.refuse, "connection refused"),
    "slower than the time-out": Outage(_slow, r"no answer for 0\.3 s"),
    "answering garbage": Outage(_mad, r"\d+ answers to \d+ commands"),
    "hanging up in the middle of a batch": Outage(_curt, "the connection was closed by the server|connection reset"),
}
every_outage = pytest.mark.parametrize("outage", OUTAGES.values(), ids=OUTAGES)


@pytest.fixture
def server() -> Iterator[Memcached]:
    """A real server."""
    with Memcached() as server:
        yield server


@pytest.fixture
def proxy(server: Memcached) -> Iterator[Proxy]:
    """What stands in front of it."""
    with Proxy(server.port) as proxy:
        yield proxy


def _sets(proxy: Proxy, *more: str) -> tuple[str, ...]:
    return ("sinks.store.type=memcached", f"sinks.store.server={proxy.address}", "sinks.store.timeout_s=0.3", *more)


def _results(state: Path, server: Memcached) -> Results:
    keys = list(expected().store)
    assert server.items() == len(keys)
    return found(state, items=server.get_many(keys))


def _until_batches(running: Load, batches: int) -> None:
    running.until(lambda views: views[WRITER].batches >= batches, f"{batches} batches")


def _until_waiting(running: Load, proxy: Proxy, problem: str) -> None:
    """Wait until the board shows this problem as the reason why the writer waits."""
    wanted = re.compile(f"memcached {proxy.address}: ({problem})")

    def is_waiting(views: Views) -> bool:
        return views[WRITER].phase == "RETRY" and wanted.fullmatch(views[WRITER].note) is not None

    running.until(is_waiting, f"waiting for {wanted.pattern}")


def _assert_nothing_is_marked_done(folder: Path) -> None:
    assert [path.name for path in (folder / "logs").iterdir()] == ["a.txt"]
    for unit in read_units(folder / "state" / "positions.db"):
        assert unit.status == "reading"
        assert unit.counts.get("read", 0) < RECORDS


@every_outage
def test_the_pipeline_waits_says_why_and_goes_on_by_itself(
    tmp_path: Path, server: Memcached, proxy: Proxy, gate: Gate, outage: Outage
) -> None:
    with start(tmp_path, *_sets(proxy)) as running:
        _until_batches(running, 20)
        outage.begin(proxy)
        gate.open()
        _until_waiting(running, proxy, outage.problem)
        until_status_shows(running, rf"^{WRITER} .* RETRY .*  memcached {proxy.address}: ")
        _assert_nothing_is_marked_done(tmp_path)
        proxy.heal()
        assert running.wait() == 0, running.output()
    assert _results(running.state, server) == expected()
    assert running.of("died") == []
    assert {event["actor"] for event in running.of("outage")} == {WRITER}
    assert [event["actor"] for event in running.of("recovered")] == [WRITER]


@every_outage
def test_when_it_lasts_too_long_the_run_ends_resumable_and_a_later_one_completes(
    tmp_path: Path, server: Memcached, proxy: Proxy, gate: Gate, outage: Outage
) -> None:
    with start(tmp_path, *_sets(proxy, "run.max_outage_s=1")) as running:
        _until_batches(running, 20)
        outage.begin(proxy)
        gate.open()
        assert running.wait() == 3, running.output()
    report = running.of("report")[0]
    problem = f"memcached {re.escape(proxy.address)}: ({outage.problem})"
    assert re.fullmatch(f"{WRITER}: {problem}, for more than 1 s", report["reason"])
    assert re.fullmatch(problem, report["outages"][WRITER])
    assert "Traceback" not in running.output()
    _assert_nothing_is_marked_done(tmp_path)
    proxy.heal()
    with start(tmp_path, *_sets(proxy)) as again:
        assert again.wait() == 0, again.output()
    assert _results(again.state, server) == expected()


def test_a_server_that_is_not_there_yet_is_waited_for(tmp_path: Path) -> None:
    server = Memcached(free_port())
    with start(tmp_path, "sinks.store.type=memcached", f"sinks.store.server={server.address}") as running:
        running.until(lambda views: "connection refused" in views[WRITER].note, "an outage")
        _assert_nothing_is_marked_done(tmp_path)
        with server:
            assert running.wait() == 0, running.output()
            assert _results(running.state, server) == expected()


def test_a_server_that_is_slow_but_answers_in_time_is_no_outage_and_its_writer_does_not_hang(
    tmp_path: Path, server: Memcached, proxy: Proxy
) -> None:
    proxy.delay_s = 0.2
    with start(tmp_path, *_sets(proxy, "flow.batch_bytes=4000", "sinks.store.timeout_s=1", "watch.suspect_s=0.9",
                                "watch.hard_block_s=1.2")) as running:
        assert running.wait() == 0, running.output()
    assert running.of("outage") == running.of("suspect") == running.of("died") == []
    assert _results(running.state, server) == expected()


def test_a_writer_that_waits_longer_than_an_actor_may_be_blocked_is_not_taken_for_hung(
    tmp_path: Path, server: Memcached, proxy: Proxy
) -> None:
    proxy.delay_s = 60.0
    with start(tmp_path, *_sets(proxy, "sinks.store.timeout_s=2.5", "watch.suspect_s=0.3",
                                "watch.hard_block_s=0.6")) as running:
        _until_waiting(running, proxy, r"no answer for 2\.5 s")
        proxy.heal()
        assert running.wait() == 0, running.output()
    assert running.of("suspect") == running.of("died") == []
    assert _results(running.state, server) == expected()


def test_connections_that_are_cut_again_and_again_only_cost_time(
    tmp_path: Path, server: Memcached, proxy: Proxy
) -> None:
    proxy.cut_after = 30_001
    with start(tmp_path, *_sets(proxy)) as running:
        assert running.wait() == 0, running.output()
    assert _results(running.state, server) == expected()
    assert len(running.of("recovered")) >= 3


def test_a_server_whose_answer_never_ends_is_an_outage(tmp_path: Path, server: Memcached, proxy: Proxy) -> None:
    proxy.flood = b"x" * 64 * 1024
    with start(tmp_path, *_sets(proxy)) as running:
        _until_waiting(running, proxy, "0 answers to .* commands")
        assert running.views()[WRITER].rss_bytes < 150 * 2**20
        proxy.heal()
        assert running.wait() == 0, running.output()
    assert running.of("died") == []
    assert _results(running.state, server) == expected()
