"""The sink ``topic``: each message once whatever is killed, one writer, whole segments that go."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.runtime.errors import ConfigError, Retryable
from actors.topics.blocks import HEADER_BYTES, Message
from actors.topics.lock import holder_of
from actors.topics.manifest import read_manifest
from actors.topics.places import partition_folder, segment_file, segments_in
from actors.topics.reading import read_topic
from actors.topics.writing import MAX_APPLIED
from tests.loads import ROOT
from tests.topics import Feed, killed, payload, sink, values


def test_a_batch_that_comes_again_is_not_appended_and_its_time_does_not_change(tmp_path: Path) -> None:
    now = [5.0]
    feed = Feed(tmp_path / "t", clock=lambda: now[0])
    batch = feed.batch(b"a", Message(b"b", time=7))
    with closing(feed.open()) as writer:
        writer.append([batch, batch])
    now[0] = 6.0
    with closing(feed.open()) as writer:
        writer.append([batch, feed.batch(b"c")])
        writer.append([batch])
    assert [(one.offset, one.value, one.time) for _, one in read_topic(tmp_path / "t")] == [
        (0, b"a", 5000), (1, b"b", 7), (2, b"c", 6000)]


def test_halves_of_a_batch_that_is_there_are_there(tmp_path: Path) -> None:
    with closing(Feed(tmp_path / "t").open()) as writer:
        writer.append([payload([b"a", b"b"], 0, 20)])
        writer.append([payload([b"a"], 0, 10), payload([b"b"], 10, 20), payload([b"c"], 20, 30)])
        writer.append([payload([b"x"], 0, 5, "q")])
    assert values(tmp_path / "t") == [b"a", b"b", b"c", b"x"]


def test_the_clock_may_go_back_and_the_time_of_a_partition_does_not(tmp_path: Path) -> None:
    now = [9.0]
    feed = Feed(tmp_path / "t", clock=lambda: now[0])
    feed.append(b"a")
    now[0] = 3.0
    feed.append(b"b")
    assert [one.time for _, one in read_topic(tmp_path / "t")] == [9000, 9000]


def test_what_a_kill_left_behind_what_counts_is_cut_off_and_not_read(tmp_path: Path) -> None:
    feed = Feed(tmp_path / "t")
    feed.append(b"a")
    path = segment_file(partition_folder(tmp_path / "t", 0), 0)
    whole = path.read_bytes()
    for more in (b"torn", whole, b"\0" * 5000):
        path.write_bytes(whole + more)
        assert values(tmp_path / "t") == [b"a"]
        with closing(feed.open()) as writer:
            writer.open()
            assert path.read_bytes() == whole


def test_a_segment_that_a_killed_append_has_begun_never_counts(tmp_path: Path) -> None:
    feed = Feed(tmp_path / "t", segment_bytes=200)
    feed.append(b"a" * 100)
    left = segment_file(partition_folder(tmp_path / "t", 0), 2)
    left.write_bytes(b"of an append that was never committed")
    assert values(tmp_path / "t") == [b"a" * 100]
    for letter in (b"b", b"c", b"d", b"e"):
        feed.append(letter * 100)
    assert values(tmp_path / "t") == [letter * 100 for letter in (b"a", b"b", b"c", b"d", b"e")]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 4), st.booleans(), st.integers(0, 300)), min_size=1, max_size=12),
       st.integers(1, 3))
def test_whatever_is_killed_when_each_message_is_there_once_and_those_of_a_key_in_order(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, bool, int]], partitions: int
) -> None:
    """Batches are written, some of them again; then more bytes reach the segments, and the writer is killed."""
    topic = tmp_path_factory.mktemp("topic") / "t"
    feed = Feed(topic, partitions=partitions, segment_bytes=250)
    batches = [feed.batch(*((b"k%d" % (line % 3), b"%d-%d" % (batch, line)) for line in range(5)))
               for batch in range(60)]
    done = 0
    writer: Any = feed.open()
    for number, dies, torn in steps:
        writer.append(batches[max(0, done - 1):done + number])
        done += number
        if dies:
            killed(writer)
            for partition in range(partitions):
                folder = partition_folder(topic, partition)
                with segment_file(folder, segments_in(folder)[-1]).open("ab") as file:
                    file.write(b"\x93TB1" * (torn // 4))
                segment_file(folder, 10**6 + torn).write_bytes(b"begun" * torn)
            writer = feed.open()
    writer.close()
    found = [record for _, record in read_topic(topic)]
    for key in range(3):
        assert [record.value for record in found if record.key == b"k%d" % key] == [
            b"%d-%d" % (batch, line) for batch in range(done) for line in range(5) if line % 3 == key]


def test_batches_without_keys_go_to_one_partition_each_in_turn(tmp_path: Path) -> None:
    feed = Feed(tmp_path / "t", partitions=3)
    for batch in range(5):
        feed.append(*(b"%d-%d" % (batch, line) for line in range(2)))
    found = [values(tmp_path / "t", number) for number in range(3)]
    assert found == [[b"0-0", b"0-1", b"3-0", b"3-1"], [b"1-0", b"1-1", b"4-0", b"4-1"], [b"2-0", b"2-1"]]


def test_the_manifest_knows_a_bounded_number_of_partitions(tmp_path: Path) -> None:
    with closing(Feed(tmp_path / "t").open()) as writer:
        writer.append([payload([b"a"], 0, 1, f"run/{number}") for number in range(MAX_APPLIED + 10)])
    applied = read_manifest(tmp_path / "t").applied
    assert (len(applied), "run/9" in applied, "run/10" in applied) == (MAX_APPLIED, False, True)


# One writer -------------------------------------------------------------------------------------------------------


WRITES = """
import sys
from pathlib import Path
from actors.sinks.topic import Topic
sink = Topic(topic=sys.argv[1]).open("feed", Path(sys.argv[2]))
print("open", flush=True)
sys.stdin.read()
"""


def other(topic: Path, state: Path) -> subprocess.Popen[str]:
    """Another process that writes to a topic until its input ends."""
    process = subprocess.Popen([sys.executable, "-c", WRITES, str(topic), str(state)], cwd=ROOT, text=True,
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == "open\n"
    return process


def test_a_second_writer_is_refused_and_told_who_has_it_until_that_one_is_gone(tmp_path: Path) -> None:
    topic, theirs = tmp_path / "t", tmp_path / "theirs"
    with other(topic, theirs) as process:
        try:
            with pytest.raises(ConfigError, match=rf"process {process.pid} \(sink feed of {theirs}\) writes to it"):
                sink(topic).open("feed", tmp_path / "ours")
            problem, = sink(topic).check("feed", tmp_path / "ours")
            assert f"process {process.pid} (sink feed of {theirs}) writes to it" in problem
            holder = holder_of(topic)
            assert holder is not None and (holder.pid, holder.state) == (process.pid, str(theirs))
        finally:
            process.kill()
    assert holder_of(topic) is None
    with closing(sink(topic).open("feed", tmp_path / "ours")) as opened:
        opened.write([payload([b"a"], 0, 1)])


def test_an_earlier_generation_of_the_same_writer_is_waited_for(tmp_path: Path) -> None:
    topic, state = tmp_path / "t", tmp_path / "state"
    with other(topic, state) as process:
        try:
            again = sink(topic).open("feed", state)
            with pytest.raises(Retryable, match=f"process {process.pid} of this run writes to it still"):
                again.write([payload([b"a"], 0, 1)])
            with pytest.raises(ConfigError, match="a topic has one writer"):
                sink(topic).open("another sink of the same run", state)
        finally:
            process.kill()
            process.wait()
        with closing(again):
            again.write([payload([b"a"], 0, 1)])
    assert values(topic) == [b"a"]


# What it is not -----------------------------------------------------------------------------------------------------


def test_partitions_may_be_added_and_not_taken_away(tmp_path: Path) -> None:
    topic = tmp_path / "t"
    Feed(topic).append(b"a")
    feed = Feed(topic, partitions=3)
    feed.at = 1
    for _ in range(3):
        feed.append(b"b")
    assert [len(values(topic, number)) for number in range(3)] == [2, 1, 1]
    with pytest.raises(ConfigError, match=r"it has 3 partitions, expected 2 or fewer: .* set partitions = 3"):
        sink(topic, partitions=2).open("feed", tmp_path)
    with pytest.raises(ConfigError, match="partitions = 3"):
        sink(topic, partitions=2).check("feed", tmp_path)


def test_a_segment_that_was_cut_short_is_refused_with_its_name(tmp_path: Path) -> None:
    Feed(tmp_path / "t").append(b"a", b"b")
    path = segment_file(partition_folder(tmp_path / "t", 0), 0)
    os.truncate(path, 10)
    with pytest.raises(ConfigError, match=rf"{path}: expected at least \d+ bytes, .* got 10: .* put it back"):
        sink(tmp_path / "t").open("feed", tmp_path)


@pytest.mark.parametrize("gone", ["segment", "partition", "topic", "moved", "replaced", "remade", "cut"])
def test_what_somebody_removes_or_replaces_under_the_writer_is_not_written_on(tmp_path: Path, gone: str) -> None:
    topic = tmp_path / "t"
    feed = Feed(topic)
    folder = partition_folder(topic, 0)
    path = segment_file(folder, 0)
    with closing(feed.open()) as writer:
        writer.append([feed.batch(b"a", b"b")])
        data, before = path.read_bytes(), read_manifest(topic)
        _gone(gone, topic, path)
        batch = feed.batch(b"c")
        for _ in range(2):  # the batch is delivered again
            with pytest.raises(ConfigError, match=r"removed|replaced|cut"):
                writer.append([batch])
        if gone not in ("topic", "remade"):
            assert read_manifest(topic) == before, "what was not appended does not count"
    if gone in ("topic", "remade"):
        return
    there = {file: file.stat().st_size for file in topic.rglob("*") if file.name != "lock"}
    with pytest.raises(ConfigError, match=rf"{path}: expected at least \d+ bytes, .* (no file|got [02]).*--fresh"):
        sink(topic, sync=False).open("feed", tmp_path)
    assert {file: file.stat().st_size for file in topic.rglob("*") if file.name != "lock"} == there
    folder.mkdir(exist_ok=True)
    path.write_bytes(data)
    with closing(feed.open()) as writer:
        writer.append([batch])
    assert values(topic) == [b"a", b"b", b"c"]


def _gone(how: str, topic: Path, path: Path) -> None:
    if how in ("segment", "replaced"):
        path.unlink()
    if how == "replaced":
        path.write_bytes(b"xx")
    if how == "partition":
        shutil.rmtree(path.parent)
    if how in ("topic", "remade"):
        shutil.rmtree(topic)
    if how == "remade":
        Feed(topic).append(b"of another")
    if how == "moved":
        path.rename(topic / "aside.log")
    if how == "cut":
        os.truncate(path, 0)


def test_a_segment_that_is_removed_when_the_next_is_to_begin_is_told(tmp_path: Path) -> None:
    feed = Feed(tmp_path / "t", segment_bytes=1)
    with closing(feed.open()) as writer:
        writer.append([feed.batch(b"a")])
        segment_file(partition_folder(tmp_path / "t", 0), 0).unlink()
        with pytest.raises(ConfigError, match="it was removed, moved away or replaced"):
            writer.append([feed.batch(b"b")])


@pytest.mark.parametrize("gone", ["segment", "partition"])
def test_a_topic_whose_segment_was_removed_may_be_begun_anew_and_offsets_go_on(tmp_path: Path, gone: str) -> None:
    feed = Feed(tmp_path / "t")
    feed.append(b"a", b"b")
    _gone(gone, tmp_path / "t", segment_file(partition_folder(tmp_path / "t", 0), 0))
    assert sink(tmp_path / "t", sync=False).clear("feed", tmp_path) is True
    feed.at = 0
    feed.append(b"c")
    assert [(record.offset, record.value) for _, record in read_topic(tmp_path / "t")] == [(2, b"c")]


def test_a_topic_without_its_manifest_is_refused(tmp_path: Path) -> None:
    Feed(tmp_path / "t").append(b"a")
    (tmp_path / "t" / "manifest.json").unlink()
    with pytest.raises(ConfigError, match=r"expected manifest.json in it, got none, and 0000 has segments"):
        sink(tmp_path / "t").open("feed", tmp_path)


@pytest.mark.parametrize(("text", "problem"), [
    ("{", "not the manifest of a topic"), ('{"id": "x", "partitions": [], "format": 9}', "made by a newer version")])
def test_a_manifest_of_another_kind_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "manifest.json").write_text(text)
    with pytest.raises(ConfigError, match=problem):
        sink(tmp_path / "t").open("feed", tmp_path)


def test_a_full_disk_is_waited_for_and_nothing_of_the_batch_counts_meanwhile(tmp_path: Path) -> None:
    topic = tmp_path / "t"
    with closing(Feed(topic, partitions=2).open()) as writer:
        writer.append([payload([(b"a", b"1"), (b"c", b"1")], 0, 1, partitions=2)])
        batch = payload([(b"%d" % number, bytes(100)) for number in range(200)], 1, 2, partitions=2)
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, before[1]))
        try:
            with pytest.raises(Retryable, match="file too large"):
                writer.append([batch])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert len(values(topic)) == 2
        writer.append([batch])
    assert len(values(topic)) == 202


# What goes ----------------------------------------------------------------------------------------------------------


def test_the_writer_lets_go_what_is_too_much(tmp_path: Path) -> None:
    feed = Feed(tmp_path / "t", segment_bytes=1000, retain_bytes=3000)
    with closing(feed.open()) as writer:
        for number in range(100):
            writer.append([feed.batch(b"%03d" % number + bytes(97))])
    folder = partition_folder(tmp_path / "t", 0)
    held = sum(path.stat().st_size for path in folder.glob("*.log"))
    assert 1500 <= held <= 3000 + 1200
    found = values(tmp_path / "t")
    assert [value[:3] for value in found if value] == [b"%03d" % number for number in range(100 - len(found), 100)]
    assert {path.stem for path in folder.glob("*.index")} == {path.stem for path in folder.glob("*.log")}


def test_the_writer_lets_go_what_is_too_old_and_begins_segments_by_age(tmp_path: Path) -> None:
    now = [100.0]
    feed = Feed(tmp_path / "t", clock=lambda: now[0], retain_s=40.0)
    with closing(feed.open()) as writer:
        for number in range(30):
            writer.append([feed.batch(b"%d" % number)])
            now[0] += 5
    found = values(tmp_path / "t")
    assert found == [b"%d" % number for number in range(30 - len(found), 30)]
    assert 40 / 5 <= len(found) <= 40 * 1.5 / 5 + 3


def test_beginning_anew_lets_all_go_and_offsets_go_on(tmp_path: Path) -> None:
    feed = Feed(tmp_path / "t", partitions=2)
    feed.append((b"a", b"1"), (b"b", b"2"), (b"c", b"3"))
    before = read_manifest(tmp_path / "t")
    assert sink(tmp_path / "t", partitions=2, sync=False).clear("feed", tmp_path) is True
    after = read_manifest(tmp_path / "t")
    assert (after.id, after.applied, values(tmp_path / "t")) == (before.id, {}, [])
    assert [one.next for one in after.partitions] == [one.next for one in before.partitions]
    feed.at = 0
    feed.append((b"a", b"4"))
    (number, record), = read_topic(tmp_path / "t")
    assert (record.value, record.offset) == (b"4", before.partitions[number].next)


def test_a_header_has_the_size_that_the_documentation_says(tmp_path: Path) -> None:
    assert HEADER_BYTES == 48
    assert "48 bytes" in (ROOT / "docs" / "topics.md").read_text()
