"""What ``explain`` promises from each source to each sink: no more than either of them does."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest

from actors.console.explain import explain, render
from actors.console.paths import path_of, state_of
from actors.runtime.ports import MOVED, Sink, SinkOptions, Source, SourceOptions, UnitLedger
from actors.settings import load
from actors.sinks.csv import Csv
from actors.sinks.discard import Discard
from actors.sinks.jsonl import Jsonl
from actors.sinks.lines import Lines
from actors.sinks.lmdb import Lmdb
from actors.sinks.memcached import Memcached
from actors.sinks.parquet import Parquet
from actors.sinks.redis import Redis
from actors.sinks.sql import Sql
from actors.sinks.stdout import Stdout
from actors.sinks.topic import Topic as TopicSink
from actors.sources.directory import Directory
from actors.sources.files import Files
from actors.sources.stdin import Stdin
from actors.sources.tcp import Tcp
from actors.sources.topic import Topic


class Group(SourceOptions, frozen=True, kw_only=True):
    """Partitions of a consumer group."""

    guarantee: ClassVar[str] = "read again from the last committed position"
    max_outage_s: ClassVar[float] = 0.0

    def moves(self) -> bool:
        return True

    def open(self, ledger: UnitLedger, batch_bytes: int, state: Path) -> Source:
        raise NotImplementedError

    def describe(self) -> str:
        return "a group"


class Unsaid(SinkOptions, frozen=True, kw_only=True):
    """A sink of one's own that says no more than it has to."""

    guarantee: ClassVar[str] = "at least once: by hand"

    def pack(self, items: Any) -> bytes:
        raise NotImplementedError

    def open(self, name: str, state: Path) -> Sink:
        raise NotImplementedError

    def describe(self) -> str:
        return "something"


COLUMNS = {"a": "text"}
ONCE = [Sql(columns=COLUMNS), Sql(columns=COLUMNS, key=["a"]), Lines(), Jsonl(), Csv(columns=["a"]), TopicSink(),
        Parquet(columns=COLUMNS)]
BY_KEY = [Lmdb(), Csv(columns=["a"], folder="f")]
REPLAYED = [Files(pattern="x"), Directory(paths=["x"]), Topic(topics=["topic:x"]), Tcp(port=1)]


@pytest.mark.parametrize("source", REPLAYED, ids=lambda one: type(one).__name__)
@pytest.mark.parametrize(("sinks", "promise"), [
    (ONCE, "exactly once: what is delivered again after a crash is known by its position, and left out"),
    (BY_KEY, "effectively once: what is written again after a crash takes its own place by its key"),
    ([Redis(url="redis://h")], "exactly once: what is delivered again after a crash is known by its position, and left "
                               "out; but what the server loses (without appendfsync always) is noticed: written again, "
                               "or exit code 1"),
    ([Memcached(server="h:1")], "effectively once: what is written again after a crash takes its own place by its key; "
                                "but what the server forgets (a restart, eviction) is gone"),
    ([Stdout()], "at least once: what is written again after a crash is there twice"),
    ([Discard()], "nothing is kept"), ([Unsaid()], "at least once: by hand")])
def test_what_is_read_again_at_its_old_position_is_as_good_as_its_sink(
    source: SourceOptions, sinks: list[SinkOptions], promise: str
) -> None:
    assert {path_of(source, sink) for sink in sinks} == {promise}
    assert state_of(source) == "exactly once: state and positions in one transaction"


@pytest.mark.parametrize("sink", [
    Lmdb(sync=False), Lines(sync=False), Csv(columns=["a"], sync=False), TopicSink(sync=False),
    Sql(columns=COLUMNS, sync=False), Parquet(columns=COLUMNS, sync=False)], ids=lambda one: type(one).__name__)
def test_who_does_not_wait_for_the_disk_promises_nothing_of_a_power_cut(sink: SinkOptions) -> None:
    assert path_of(REPLAYED[0], sink).endswith(
        "; but a power cut of this machine takes what was written last, though it was acknowledged (sync = false)")
    assert not type(sink).loses(msgspec.structs.replace(sink, sync=True))


@pytest.mark.parametrize(("sink", "promise"), [
    (Sql(columns=COLUMNS), f"at least once: {MOVED}, and is there twice then"),
    (TopicSink(), f"at least once: {MOVED}, and is there twice then"),
    (Sql(columns=COLUMNS, key=["a"]), f"effectively once: {MOVED}, and takes its own place by its key"),
    (Lmdb(), "effectively once: what is written again after a crash takes its own place by its key; so does what comes "
             f"twice: {MOVED}"),
    (Stdout(), f"at least once: what is written again after a crash is there twice; {MOVED}"),
    (Unsaid(), f"at least once: by hand; {MOVED}")])
def test_what_comes_twice_as_another_record_is_there_once_only_by_its_key(sink: SinkOptions, promise: str) -> None:
    assert path_of(Group(), sink) == promise


def test_what_its_source_may_lose_is_said_of_every_path() -> None:
    lost = "what the reader had read and not passed on when it died is lost, and reported"
    for sink in (*ONCE, *BY_KEY, Stdout(), Discard(), Unsaid()):
        assert path_of(Stdin(), sink).endswith(f"; but {lost}")
    assert state_of(Stdin()) == f"exactly once: state and positions in one transaction; but {lost}"


def explained(*sets: str, target: str = "tests.pipelines.unfolded") -> str:
    return render(explain(load(target, sets=list(sets), environ={})))


def test_explain_says_of_each_sink_what_is_promised_and_whether_it_deletes() -> None:
    text = explained(target="tests.pipelines.erased")
    assert ("        from its source: effectively once: what is written again after a crash takes its own place by its "
            "key\n        (key, None) deletes the key\n") in text
    assert ("        from its source: exactly once: what is delivered again after a crash is known by its position, "
            "and left out\n        Deleted(key) deletes the row\n") in text


def test_explain_says_how_long_an_outage_is_waited_for() -> None:
    assert ("outages who is down is waited for, for at most 30 s, then the run stops, resumable, with exit code 3 "
            "(run.max_outage_s); the run is not ready meanwhile") in explained()
    assert "is waited for, for as long as it takes (run.max_outage_s)" in explained("run.max_outage_s=0")
    assert "for as long as it takes" in explained("source.type=tests.unit.test_paths:Group")
    assert "at most 7 s" in explained("source.type=tests.unit.test_paths:Group", "run.max_outage_s=7")


def test_explain_says_what_a_server_has_to_keep_and_what_follows_where_it_does_not() -> None:
    said = {type(sink).__name__: sink.promises() for sink in (Redis(url="redis://h"), Memcached(server="h:1"))}
    assert "exactly once, in source order, as long as the server keeps what it has answered" in said["Redis"]
    assert "else the run ends with exit code 1" in said["Redis"]
    assert said["Memcached"].endswith("is gone, and unnoticed: a key only can be asked")
