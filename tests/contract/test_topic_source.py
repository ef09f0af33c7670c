"""The source ``topic``: every message once or told to be missing; several partitions and topics; what comes later."""

from __future__ import annotations

import os
import select
import shutil
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.runtime.errors import ConfigError, Retryable
from actors.runtime.ledger import Ledger
from actors.runtime.values import SOURCE_DAMAGED, SOURCE_LOST, Chunk
from actors.sources.topic import Topic, TopicSource
from actors.testing.reading import Reading
from actors.topics.blocks import Message
from actors.topics.manifest import read_manifest, read_view
from actors.topics.places import index_file, partition_folder, segment_file, segments_in
from actors.topics.reading import Gap, PartitionReader, first_offset, offset_at
from actors.topics.retention import remove
from tests.loads import WATCHDOG_S
from tests.topics import Feed, read_values, reading, records


def until_quiet(found: Reading, at_least: int) -> None:
    """Read until so many messages were handed out, and there is nothing more now."""
    found.read_until(lambda one: one.has_nothing_now and len(records(one.chunks)) >= at_least)


@contextmanager
def a_ledger(state: Path) -> Iterator[Ledger]:
    """The real one, of a reader."""
    ledger = Ledger(state / "positions.db", "run")
    try:
        yield ledger
    finally:
        ledger.close_file()


def faults(chunks: list[Chunk]) -> list[tuple[str, int, int]]:
    """Reason and range of the chunks that are faults."""
    return [(chunk.fault, chunk.start, chunk.end) for chunk in chunks if chunk.fault]


def test_all_partitions_of_all_topics_are_read_each_in_order_and_with_all_of_its_messages(tmp_path: Path) -> None:
    one, two = Feed(tmp_path / "one", partitions=3), Feed(tmp_path / "two")
    for batch in range(20):
        one.append(*((b"k%d" % (n % 5), b"%d-%d" % (batch, n)) for n in range(7)))
        two.append(Message(None, b"key", 5, (("h", b"x"), ("h", None))))
    with reading(tmp_path / "state", one.topic, two.topic, follow=False) as found:
        found.read_until(lambda each: each.source.exhausted)
        of = {chunk.source: records([each for each in found.chunks if each.source == chunk.source])
              for chunk in found.chunks}
    assert sorted(of) == [f"{tmp_path}/one/{n}" for n in range(3)] + [f"{tmp_path}/two/0"]
    for some in of.values():
        assert [record.offset for record in some] == list(range(len(some)))
    for key in range(5):
        assert [record.value for some in of.values() for record in some if record.key == b"k%d" % key] == [
            b"%d-%d" % (batch, n) for batch in range(20) for n in range(7) if n % 5 == key]
    record = of[f"{tmp_path}/two/0"][3]
    assert (record.value, record.key, record.time, record.headers) == (None, b"key", 5, (("h", b"x"), ("h", None)))


def test_what_is_appended_is_read_as_soon_as_it_counts_and_not_before(tmp_path: Path) -> None:
    feed = Feed(tmp_path / "t")
    feed.append(b"a")
    with reading(tmp_path / "state", feed.topic, poll_s=600) as found:
        until_quiet(found, 1)
        with segment_file(partition_folder(feed.topic, 0), 0).open("ab") as file:
            file.write(b"not yet")
        feed.append(b"b")
        until_quiet(found, 2)
        feed.append(b"c")
        until_quiet(found, 3)
        assert read_values(found.chunks) == [b"a", b"b", b"c"]


@pytest.mark.parametrize("is_there", [False, True])
def test_its_reader_is_woken_by_what_is_appended_and_by_a_topic_that_comes_later(
    tmp_path: Path, is_there: bool
) -> None:
    """Nobody looks but when the descriptor is readable, and the next look by the clock is far away."""
    feed = Feed(tmp_path / "topics" / "t")
    if is_there:
        feed.append(b"0")
    with reading(tmp_path / "state", feed.topic, poll_s=600) as found:
        got = list(iter(found.source.read, None))
        for number in range(is_there, 3):
            feed.append(b"%d" % number)
            while len(got) <= number:
                assert found.source.wake is not None
                assert select.select([found.source.wake], [], [], WATCHDOG_S)[0], "nobody wakes the reader"
                got += iter(found.source.read, None)
        assert read_values(got) == [b"0", b"1", b"2"]


def test_what_is_there_at_the_start_is_read_once_and_the_next_run_goes_on(tmp_path: Path) -> None:
    feed = Feed(tmp_path / "t")
    feed.append(b"a", b"b")
    for expected in ([b"a", b"b"], [], [b"c"], [b"d"]):
        with reading(tmp_path / "state", feed.topic, follow=False) as found:
            found.read_until(lambda each: each.source.exhausted)
            assert read_values(found.chunks) == expected
            found.commit(*found.chunks)
            found.finish()
        if expected != [b"a", b"b"]:
            feed.append(b"c" if expected == [] else b"d")


def test_two_readers_have_positions_of_their_own(tmp_path: Path) -> None:
    feed = Feed(tmp_path / "t")
    feed.append(b"a")
    for state in ("one", "two"):
        with reading(tmp_path / state, feed.topic, follow=False) as found:
            found.read_until(lambda each: each.source.exhausted)
            assert read_values(found.chunks) == [b"a"]


def test_a_manifest_is_believed_when_its_folder_is_flushed_though_the_writer_has_not_come_to_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else what was handed out could be gone after a power cut, and other messages be appended in its place."""
    Feed(tmp_path / "t", sync=True).append(b"a")
    flushed: list[str] = []
    real = os.fsync

    def noted(descriptor: int) -> None:
        flushed.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    read_view(tmp_path / "t")
    assert flushed == [str(tmp_path / "t")]


# From where on ------------------------------------------------------------------------------------------------------


def test_a_reader_begins_at_the_end_at_a_moment_or_at_the_beginning(tmp_path: Path) -> None:
    now = [0.0]
    feed = Feed(tmp_path / "t", clock=lambda: now[0], segment_bytes=300)
    for number in range(50):
        now[0] = 10.0 + number
        feed.append(b"%d" % number)
    for start, first in (("earliest", 0), ("latest", 50), ("10000", 0), ("10001", 1), ("33000", 23), ("59000", 49),
                         ("59001", 50), ("1970-01-01T00:00:33Z", 23)):
        with reading(tmp_path / f"state-{start}", feed.topic, follow=False, start=start) as found:
            found.read_until(lambda each: each.source.exhausted)
            assert read_values(found.chunks) == [b"%d" % number for number in range(first, 50)], start


def test_where_a_reader_began_is_decided_once(tmp_path: Path) -> None:
    feed = Feed(tmp_path / "t", partitions=2)
    feed.append((b"a", b"1"), (b"b", b"1"), (b"c", b"1"))
    with reading(tmp_path / "state", feed.topic, start="latest") as found:
        found.read_until(lambda each: each.has_nothing_now)
        found.ledger.flush()  # and the reader dies
    feed.append((b"a", b"2"), (b"b", b"2"))
    with reading(tmp_path / "state", feed.topic, start="latest", follow=False) as found:
        found.read_until(lambda each: each.source.exhausted)
        assert sorted(value or b"" for value in read_values(found.chunks)) == [b"2", b"2"]


@pytest.mark.parametrize("is_running", [True, False])
def test_a_partition_that_is_added_is_read_from_its_beginning(tmp_path: Path, is_running: bool) -> None:
    feed, more = Feed(tmp_path / "t"), Feed(tmp_path / "t", partitions=3)
    feed.append(b"before")
    with reading(tmp_path / "state", feed.topic, start="latest", poll_s=0.01) as found:
        found.read_until(lambda each: each.has_nothing_now)
        found.ledger.flush()
        more.at = 1
        if is_running:
            more.append(*((b"%d" % n, b"%d" % n) for n in range(20)))
            until_quiet(found, 20)
    if not is_running:
        more.append(*((b"%d" % n, b"%d" % n) for n in range(20)))
        with reading(tmp_path / "state", feed.topic, start="latest", follow=False) as found:
            found.read_until(lambda each: each.source.exhausted)
    assert sorted(int(value or b"") for value in read_values(found.chunks)) == list(range(20))
    assert len({chunk.unit for chunk in found.chunks}) == 3


@settings(max_examples=60, deadline=None)
@given(st.lists(st.none() | st.integers(0, 100), min_size=1, max_size=60), st.integers(0, 110))
def test_the_first_message_of_a_time_or_later_is_found_whatever_times_messages_bring(
    tmp_path_factory: pytest.TempPathFactory, times: list[int | None], wanted: int
) -> None:
    now = [0.0]
    feed = Feed(tmp_path_factory.mktemp("topic") / "t", clock=lambda: now[0], segment_bytes=400)
    for at in range(0, len(times), 3):
        now[0] = at / 1000
        feed.append(*(Message(b"x" * 30, time=time) for time in times[at:at + 3]))
    view, _ = read_view(feed.topic)
    effective = [at - at % 3 if time is None else time for at, time in enumerate(times)]
    expected = next((at for at, time in enumerate(effective) if time >= wanted), len(times))
    assert offset_at(partition_folder(feed.topic, 0), view.partitions[0], wanted) == expected


def test_an_offset_in_a_large_segment_is_found_without_a_look_at_all_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed = Feed(tmp_path / "t")
    with closing(feed.open()) as writer:
        writer.append([feed.batch(bytes(1000)) for _ in range(3000)])
    extent = read_view(feed.topic)[0].partitions[0]
    folder, looks = partition_folder(feed.topic, 0), [0]
    real = os.pread

    def counted(*words: Any) -> bytes:
        looks[0] += 1
        return real(*words)

    monkeypatch.setattr(os, "pread", counted)
    for offset in (0, 1234, 2999):
        looks[0] = 0
        reader = PartitionReader(folder, offset, extent)
        found: Any = reader.next()
        reader.close()
        assert found.records[0].offset == offset
        assert looks[0] < 80
    index_file(folder, 0).write_bytes(bytes(240))  # a power cut has torn it
    reader = PartitionReader(folder, 2999, extent)
    found = reader.next()
    reader.close()
    assert found.records[0].offset == 2999


# What is gone, and what is damaged ----------------------------------------------------------------------------------


def segmented(topic: Path, messages: int = 30) -> Feed:
    """A topic of three messages a segment."""
    feed = Feed(topic, segment_bytes=300)
    with closing(feed.open()) as writer:
        for number in range(messages):
            writer.append([feed.batch(b"%02d" % number + bytes(98))])
    assert segments_in(partition_folder(topic, 0))[:3] == [0, 2, 4]
    return feed


def numbers(chunks: list[Chunk]) -> list[int]:
    return [int((value or b"")[:2]) for value in read_values(chunks)]


def test_what_was_let_go_before_it_was_read_is_told_with_its_range(tmp_path: Path) -> None:
    feed = segmented(tmp_path / "t")
    with reading(tmp_path / "state", feed.topic, batch_bytes=120) as found:
        found.read_until(lambda each: len(each.chunks) == 3)
        found.commit(*found.chunks)
    remove(partition_folder(feed.topic, 0), [0, 2, 4, 6], False)
    with reading(tmp_path / "state", feed.topic, follow=False) as found:
        found.read_until(lambda each: each.source.exhausted)
        assert faults(found.chunks) == [(SOURCE_LOST, 3, 8)]
        assert numbers(found.chunks) == list(range(8, 30))
        unit, = found.ledger.taken_up()
        assert "offsets 3 to 7 are gone" in unit.damage


def test_what_was_let_go_before_anybody_read_it_is_no_loss(tmp_path: Path) -> None:
    feed = segmented(tmp_path / "t")
    remove(partition_folder(feed.topic, 0), [0, 2], False)
    with reading(tmp_path / "state", feed.topic, follow=False) as found:
        found.read_until(lambda each: each.source.exhausted)
        assert (faults(found.chunks), numbers(found.chunks)) == ([], list(range(4, 30)))
        assert found.chunks[0].start == 4


@pytest.mark.parametrize("start", ["earliest", "1970-01-01"])
def test_a_reader_that_begins_where_somebody_removed_the_last_segment_is_told_of_it(tmp_path: Path, start: str) -> None:
    feed = segmented(tmp_path / "t")
    folder = partition_folder(feed.topic, 0)
    remove(folder, segments_in(folder), False)  # the one that is appended to never goes by itself
    with reading(tmp_path / "state", feed.topic, follow=False, start=start) as found:
        found.read_until(lambda each: each.source.exhausted)
        assert faults(found.chunks) == [(SOURCE_LOST, 28, 30)]


def test_the_last_segment_is_told_when_somebody_removed_it_and_those_before_it_are_there(tmp_path: Path) -> None:
    feed = segmented(tmp_path / "t")
    remove(partition_folder(feed.topic, 0), [28], False)
    with reading(tmp_path / "state", feed.topic, follow=False) as found:
        found.read_until(lambda each: each.source.exhausted)
        assert (faults(found.chunks), numbers(found.chunks)) == ([(SOURCE_LOST, 28, 30)], list(range(28)))


def test_ranges_that_were_on_their_way_when_some_of_them_went_end_where_they_ended(tmp_path: Path) -> None:
    feed = segmented(tmp_path / "t")
    with reading(tmp_path / "state", feed.topic, batch_bytes=400) as found:
        found.read_until(lambda each: len(each.chunks) == 3)
        ends = [chunk.end for chunk in found.chunks]
    remove(partition_folder(feed.topic, 0), [0, 2, 4], False)
    with reading(tmp_path / "state", feed.topic, follow=False, batch_bytes=4000) as found:
        found.read_until(lambda each: each.source.exhausted)
        assert set(ends) <= {chunk.end for chunk in found.chunks}
        assert sum(end - start for _, start, end in faults(found.chunks)) == 6
        assert numbers(found.chunks) == list(range(6, 30))
        assert [chunk.start for chunk in found.chunks[1:]] == [chunk.end for chunk in found.chunks[:-1]]


def test_a_segment_that_goes_while_it_is_read_is_read_to_its_end(tmp_path: Path) -> None:
    feed = segmented(tmp_path / "t")
    with reading(tmp_path / "state", feed.topic, follow=False, batch_bytes=120) as found:
        found.read_until(lambda each: len(each.chunks) == 1)
        remove(partition_folder(feed.topic, 0), [0], False)
        found.read_until(lambda each: each.source.exhausted)
        assert (faults(found.chunks), numbers(found.chunks)) == ([], list(range(30)))


def test_a_segment_that_is_missing_in_the_middle_is_told(tmp_path: Path) -> None:
    feed = segmented(tmp_path / "t")
    segment_file(partition_folder(feed.topic, 0), 4).unlink()
    with reading(tmp_path / "state", feed.topic, follow=False) as found:
        found.read_until(lambda each: each.source.exhausted)
        assert faults(found.chunks) == [(SOURCE_LOST, 4, 6)]
        assert numbers(found.chunks) == [*range(4), *range(6, 30)]


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 7), st.sampled_from(["flip", "zero", "cut"]))
def test_damage_anywhere_costs_what_it_hits_and_nothing_wrong_is_read(
    tmp_path_factory: pytest.TempPathFactory, where: int, bit: int, kind: str
) -> None:
    topic = tmp_path_factory.mktemp("topic") / "t"
    segmented(topic, 12)
    folder = partition_folder(topic, 0)
    paths = [segment_file(folder, first) for first in segments_in(folder)]
    place = where % sum(path.stat().st_size for path in paths)
    for path in paths:
        data = bytearray(path.read_bytes())
        if place < len(data):
            if kind == "flip":
                data[place] ^= 1 << bit
            elif kind == "zero":
                data[place:place + 60] = bytes(len(data[place:place + 60]))
            path.write_bytes(data[:place] if kind == "cut" else data)
            break
        place -= len(data)
    reader = PartitionReader(folder, 0, read_view(topic)[0].partitions[0])
    read: list[int] = []
    missing: list[int] = []
    with closing(reader):
        while (found := reader.next()) is not None:
            if isinstance(found, Gap):
                missing += range(found.start, found.end)
                continue
            for record in found.records:
                assert record.value == b"%02d" % record.offset + bytes(98)
                read.append(record.offset)
    assert sorted(read + missing) == list(range(12))
    assert kind == "zero" or missing  # what is zero already is no damage
    assert len(missing) <= 2


def test_a_block_that_is_damaged_is_a_dead_letter_with_its_range_and_its_unit_is_not_whole(tmp_path: Path) -> None:
    feed = segmented(tmp_path / "t")
    path = segment_file(partition_folder(feed.topic, 0), 4)
    path.write_bytes(path.read_bytes().replace(b"05\0", b"06\0"))
    with reading(tmp_path / "state", feed.topic, follow=False) as found:
        found.read_until(lambda each: each.source.exhausted)
        assert faults(found.chunks) == [(SOURCE_DAMAGED, 5, 6)]
        assert numbers(found.chunks) == [*range(5), *range(6, 30)]
        unit, = found.ledger.taken_up()
        assert unit.damage.startswith(f"{path} is damaged: offsets 5 to 5: at byte ")


def test_a_topic_that_is_made_anew_is_another_and_what_was_not_read_is_told(tmp_path: Path) -> None:
    feed = Feed(tmp_path / "t")
    feed.append(b"a", b"b", b"c")
    with reading(tmp_path / "state", feed.topic, batch_bytes=1, poll_s=0.01) as found:
        found.read_until(lambda each: len(each.chunks) == 1)
        old = found.chunks[0].unit
        shutil.rmtree(feed.topic)
        again = Feed(tmp_path / "t")
        again.append(b"d")
        assert found.source.wake is not None
        assert select.select([found.source.wake], [], [], WATCHDOG_S)[0]
        until_quiet(found, 2)
        assert faults(found.chunks) == [(SOURCE_LOST, 1, 3)]
        (lost,) = (chunk for chunk in found.chunks if chunk.fault)
        assert lost.unit == old
        assert "made anew before all of it was read: offsets from 1 on are lost" in lost.detail
        assert read_values(found.chunks) == [b"a", b"d"]


def test_what_is_lost_of_a_topic_that_is_made_anew_is_told_also_by_a_run_that_is_stopped(tmp_path: Path) -> None:
    feed = Feed(tmp_path / "t")
    feed.append(b"a", b"b", b"c")
    now = [1000.0]
    options = Topic(topics=[str(feed.topic)], poll_s=0.5)
    with a_ledger(tmp_path) as ledger, closing(TopicSource(options, ledger, 1, tmp_path, lambda: now[0])) as source:
        assert source.read() is not None
        shutil.rmtree(feed.topic)
        Feed(tmp_path / "t").append(b"d")
        now[0] += 1
        source.lag()  # it looks, and has no turn before the stop
        source.stop()
        assert not source.exhausted
        lost = source.read()
        assert lost is not None
        assert (lost.fault, lost.start, lost.end) == (SOURCE_LOST, 1, 3)
        assert source.read() is None
        assert source.exhausted


# What the watermark waits for -----------------------------------------------------------------------------------------


def test_a_partition_is_waited_for_while_it_has_something_unread_or_has_grown_lately(tmp_path: Path) -> None:
    feed = Feed(tmp_path / "t", partitions=2)
    feed.append(*((b"%d" % key, b"1") for key in range(10)))
    now = [1000.0]
    options = Topic(topics=[str(feed.topic)], idle_timeout_s=10, poll_s=0.5)
    with a_ledger(tmp_path) as ledger, closing(TopicSource(options, ledger, 1, tmp_path, lambda: now[0])) as source:
        first = source.read()
        assert first is not None
        assert len(source.active()) == 2  # what was appended long ago, and is not read yet
        while source.read() is not None:
            pass
        assert source.active() == ()
        feed.append((b"a", b"2"))
        now[0] += 1
        chunk = source.read()
        assert chunk is not None
        assert source.active() == (chunk.unit,)
        while source.read() is not None:
            pass
        now[0] += 9
        assert source.active() == (chunk.unit,)
        now[0] += 2
        assert source.active() == ()


# What it is not -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("options", "problem"), [
    ({"topics": []}, "topics is empty; expected e.g."), ({"topics": ["t", "topic:t"]}, "named twice"),
    ({"topics": ["none"], "follow": False}, "none: there is no topic: expected the folder of one"),
    ({"topics": ["t"], "start": "soon"}, "expected earliest, latest"), ({"topics": ["kafka://h/t"]}, "got kafka://")])
def test_what_cannot_be_read_is_refused_and_said(tmp_path: Path, options: dict[str, Any], problem: str) -> None:
    Feed(tmp_path / "t").append(b"a")
    with pytest.raises(ConfigError, match=problem):
        Topic(**options).check(tmp_path)
    with a_ledger(tmp_path) as ledger, pytest.raises(ConfigError, match=problem):
        Topic(**options).open(ledger, 100, tmp_path)


def test_looking_at_a_topic_changes_nothing_of_it(tmp_path: Path) -> None:
    feed = segmented(tmp_path / "t")
    before = {path: path.read_bytes() for path in feed.topic.rglob("*") if path.is_file()}
    with reading(tmp_path / "state", feed.topic, follow=False) as found:
        found.read_until(lambda each: each.source.exhausted)
    assert {path: path.read_bytes() for path in feed.topic.rglob("*") if path.is_file()} == before
    assert first_offset(partition_folder(feed.topic, 0), read_manifest(feed.topic).partitions[0]) == 0


def test_the_lag_is_what_is_not_durable_of_each_partition_also_while_nothing_is_read(tmp_path: Path) -> None:
    feed = Feed(tmp_path / "t", partitions=2)
    feed.append(*((b"k%d" % number, b"value %03d" % number) for number in range(100)))
    view = read_view(feed.topic)[0]
    there = [extent.next for extent in view.partitions]
    with reading(tmp_path / "state", feed.topic, poll_s=0.01) as found:
        until_quiet(found, 100)
        names = {unit.id: unit.name for unit in found.ledger.taken_up()}

        def lag() -> list[int]:
            said = {names[unit]: records for unit, records in found.source.lag().items()}
            return [said[f"{tmp_path}/t/{number}"] for number in range(2)]

        assert lag() == there, "read is not durable"
        first = found.chunks[0]
        found.commit(first)
        at = int(first.source.rpartition("/")[2])
        assert lag()[at] == there[at] - first.end
        found.commit(*found.chunks[1:])
        assert lag() == [0, 0]
        feed.append(*((b"k%d" % number, b"more") for number in range(100)))
        deadline = time.monotonic() + WATCHDOG_S
        while sum(lag()) != 100:  # it is looked at without being read
            assert time.monotonic() < deadline
            time.sleep(0.005)
        assert len(records(found.chunks)) == 100


def test_a_partition_that_is_over_is_behind_nothing(tmp_path: Path) -> None:
    feed = Feed(tmp_path / "t")
    feed.append(b"a", b"b")
    with reading(tmp_path / "state", feed.topic, follow=False) as found:
        found.read_until(lambda each: each.source.exhausted)
        assert found.source.lag() == {}


def test_a_topic_that_cannot_be_looked_at_has_no_lag_of_now(tmp_path: Path) -> None:
    feed = Feed(tmp_path / "t")
    feed.append(b"a")
    with reading(tmp_path / "state", feed.topic, poll_s=0.001) as found:
        until_quiet(found, 1)
        manifest = feed.topic / "manifest.json"
        manifest.rename(feed.topic / "away")
        manifest.mkdir()

        def lag_when_it_is_time_to_look() -> None:
            deadline = time.monotonic() + WATCHDOG_S
            while time.monotonic() < deadline:
                found.source.lag()

        with pytest.raises(Retryable):
            lag_when_it_is_time_to_look()
