"""Messages of a topic that are read back while they are written: those that count, each once, the last ones first."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.runtime.values import Payload
from actors.sinks.topic import Topic

Groups = list[list[tuple[bytes | None, bytes]]]


def write(options: Topic, state: Path, items: list[Any], number: int) -> None:
    """Append one batch, as a writer that is opened anew."""
    with closing(options.open("out", state)) as sink:
        sink.write([Payload("p", number, number + 1, len(items), options.pack(items))])


def values(follower: Any) -> list[bytes | None]:
    return [record.value for record in follower.new()]


def test_nothing_is_there_before_the_topic_is_and_each_message_once(tmp_path: Path) -> None:
    options = Topic(sync=False)
    follower = options.follow("out", tmp_path, 10)
    assert values(follower) == []
    write(options, tmp_path, [(b"k", b"a"), (b"k", b"b")], 0)
    assert values(follower) == [b"a", b"b"]
    assert values(follower) == []
    write(options, tmp_path, [(b"k", b"c")], 1)
    assert values(follower) == [b"c"]
    assert values(options.follow("out", tmp_path, 2)) == [b"b", b"c"]


def test_one_that_was_emptied_or_made_anew_is_read_as_it_is_now(tmp_path: Path) -> None:
    options = Topic(sync=False)
    follower = options.follow("out", tmp_path, 10)
    write(options, tmp_path, [b"a"], 0)
    assert values(follower) == [b"a"]
    options.clear("out", tmp_path)
    assert values(follower) == []
    write(options, tmp_path, [b"b"], 0)
    assert values(follower) == [b"b"]
    (tmp_path / "out").rename(tmp_path / "away")
    assert values(follower) == []
    write(options, tmp_path, [b"c"], 0)
    assert values(follower) == [b"c"]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.tuples(st.none() | st.sampled_from([b"a", b"b", b"c"]), st.binary(max_size=9)), min_size=1,
                         max_size=6), max_size=6), st.integers(1, 3), st.sampled_from([1, 100, 1 << 20]))
def test_of_what_is_new_all_partitions_are_read_each_in_its_order(
    tmp_path_factory: pytest.TempPathFactory, groups: Groups, partitions: int, segment: int
) -> None:
    state = tmp_path_factory.mktemp("topic")
    options = Topic(partitions=partitions, segment_bytes=segment, sync=False)
    follower = options.follow("out", state, 100)
    for number, items in enumerate(groups):
        write(options, state, items, number)
        found = [(record.key, record.value) for record in follower.new()]
        for key in {key for key, _ in items}:
            assert [value for each, value in found if each == key] == [value for each, value in items if each == key]
        assert len(found) == len(items)
    everything = options.follow("out", state, 100).new()
    assert len(everything) == sum(map(len, groups))
    assert [record.time for record in everything] == sorted(record.time or 0 for record in everything)
