"""The source `kafka` in a consumer group on a real broker: what is asked back, drained, committed, lost, begun with."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from actors.runtime.errors import ConfigError, Retryable
from actors.runtime.moving import why_not_moved
from actors.runtime.pipeline import Distinct, Fold, Pipeline, Windows
from actors.runtime.values import HANDED_OVER, Chunk
from actors.sources.kafka import Kafka
from actors.testing.reading import Reading
from tests.contract.test_kafka_source import committed, numbered, options, values
from tests.kafka import Kafka as Broker
from tests.kafka import Topics
from tests.loads import WATCHDOG_S

#: The shortest session that a broker allows, and as short a time between two polls.
SHORT = {"session.timeout.ms": 6000, "heartbeat.interval.ms": 300, "max.poll.interval.ms": 6000}


@pytest.fixture(scope="session")
def topics(kafka: Broker) -> Topics:
    return Topics(kafka.address)


class Member(Reading):
    """A member of a group, as its reader uses it: what is handed out is durable in the next step.

    Attributes:
        drains: False: nothing becomes durable, as when a sink is down.
        reads: False: nothing is taken from the source, as when the window is full.
        done: chunks that are durable.
    """

    drains = reads = True

    def __init__(self, given: Kafka, state: Path) -> None:
        super().__init__(given, state, 200)
        self.done: list[Chunk] = []
        self._at = 0

    def step(self) -> None:
        """A turn of the reader."""
        if self.reads:
            self._read_once()
        else:
            self.tick()
        if not self.drains:
            return
        mine = {unit.id for unit in self.ledger.taken_up()}
        new = [chunk for chunk in self.chunks[self._at:] if chunk.unit in mine]
        self._at = len(self.chunks)
        self.commit(*new)
        self.done += new
        if any(not said.is_lost for said in self.revoked):
            self.hand_over()

    def names(self) -> set[str]:
        """The partitions that it reads."""
        return {unit.name.rpartition("/")[2] for unit in self.ledger.taken_up()}


class Group:
    """Members of a group that are stepped in turn, in this process.

    Args:
        kafka: the broker.
        topic: that they read; also the name of the group.
        folder: for their state directories.
    """

    def __init__(self, kafka: Broker, topic: str, folder: Path) -> None:
        self.kafka = kafka
        self.topic = topic
        self.folder = folder
        self.members: list[Member] = []
        self.stack = ExitStack()

    def join(self, name: str, start: str = "earliest") -> Member:
        """Open a member with this state directory."""
        given = options(self.kafka, self.topic, group=self.topic, start=start, client=SHORT)
        member = Member(given, self.folder / name)
        self.members.append(member)
        self.stack.enter_context(member)
        return member

    def die(self, member: Member) -> None:
        """As SIGKILL: nothing more is committed, nobody is told."""
        self.members.remove(member)
        source = member.source
        source._told.tell_the_last = lambda inflow: True  # type: ignore[attr-defined]
        source.close()

    def until(self, is_so: Callable[[], bool], what: str) -> None:
        """Step all members until something is so."""
        end = time.monotonic() + WATCHDOG_S
        while not is_so():
            assert time.monotonic() < end, what
            for member in self.members:
                member.step()
            if all(member.has_nothing_now for member in self.members):
                self.members[0]._wait()


@pytest.fixture
def group(kafka: Broker, topics: Topics, tmp_path: Path) -> Iterator[Group]:
    made = Group(kafka, topics.make(partitions=2), tmp_path)
    with made.stack:
        yield made


def until_it_works(group: Group, is_so: Callable[[], bool]) -> None:
    """Step though it is said that the topic is missing."""
    end = time.monotonic() + WATCHDOG_S
    while not is_so():
        assert time.monotonic() < end
        with contextlib.suppress(Retryable):
            group.until(is_so, "it works")


def numbers(*members: Member) -> list[int]:
    """What became durable."""
    return sorted(int(value or b"") for member in members for value in values(member.done))


def test_what_is_asked_back_is_drained_committed_and_gone_on_with_by_the_next_owner(
    group: Group, topics: Topics
) -> None:
    topics.send(group.topic, [*numbered(100), *numbered(100, 100, 1)])
    first = group.join("a")
    group.until(lambda: len(numbers(first)) == 200, "all is read by the only member")
    group.until(lambda: all(committed(topics, group.topic, group.topic, one)[0] == 100 for one in (0, 1)), "and told")
    first.drains = False  # what comes now is open
    topics.send(group.topic, [*numbered(20, 200), *numbered(20, 300, 1)])
    group.until(lambda: len(values(first.chunks)) == 240, "all is handed out")
    second = group.join("b")
    group.until(lambda: bool(first.revoked), "a partition is asked back")
    (unit,) = first.revoked[0].units
    number = int(unit.name[-1])
    for _ in range(50):
        first.step()
        second.step()
    assert second.names() == set(), "it is not given before it is drained"
    assert committed(topics, group.topic, group.topic, number)[0] == 100, "what is open is not committed"
    first.drains = True
    group.until(lambda: second.names() == {str(number)}, "the next owner has it")
    assert committed(topics, group.topic, group.topic, number) == (120, first.ledger.state_id)
    assert [each.status for each in first.ledger.known("kafka ") if each.id == unit.id] == [HANDED_OVER]
    topics.send(group.topic, [*numbered(10, 400), *numbered(10, 500, 1)])
    group.until(lambda: len(numbers(first, second)) == 260, "both read on")
    assert numbers(first, second) == [*range(220), *range(300, 320), *range(400, 410), *range(500, 510)], "each once"
    assert len(numbers(second)) == 10
    assert first.names() == {str(1 - number)}


def test_what_a_dead_member_had_not_committed_is_done_again_and_whose_position_counts_is_the_brokers(
    group: Group, topics: Topics
) -> None:
    topics.send(group.topic, [*numbered(50), *numbered(50, 100, 1)])
    first = group.join("a")
    group.until(lambda: len(numbers(first)) == 100, "all is read")
    group.until(lambda: all(committed(topics, group.topic, group.topic, one)[0] == 50 for one in (0, 1)), "and told")
    first.drains = False
    topics.send(group.topic, [*numbered(10, 50), *numbered(10, 150, 1)])
    group.until(lambda: len(values(first.chunks)) == 120, "all is handed out")
    group.die(first)
    second = group.join("b")
    group.until(lambda: second.names() == {"0", "1"} and len(numbers(second)) == 20, "its session has ended")
    assert numbers(second) == [*range(50, 60), *range(150, 160)], "what was not committed, and nothing else"
    topics.send(group.topic, [*numbered(5, 60), *numbered(5, 160, 1)])
    group.until(lambda: len(numbers(second)) == 30, "it reads on")
    group.until(lambda: all(committed(topics, group.topic, group.topic, one)[0] == 65 for one in (0, 1)), "and tells")
    group.die(second)
    again = group.join("a")  # its ledger says that it is reading both, from 50 on
    group.until(lambda: again.names() == {"0", "1"}, "it has both")
    topics.send(group.topic, [*numbered(5, 65), *numbered(5, 165, 1)])
    group.until(lambda: len(numbers(again)) == 10, "it reads on")
    assert numbers(again) == [*range(65, 70), *range(165, 170)], "behind what the other has done"
    assert [unit.status for unit in again.ledger.known("kafka ")][:2] == [HANDED_OVER, HANDED_OVER]


def test_one_that_is_started_again_goes_on_where_its_ledger_is_though_the_broker_was_told_of_less(
    group: Group, topics: Topics
) -> None:
    topics.send(group.topic, [*numbered(50), *numbered(50, 100, 1)])
    first = group.join("a")
    group.until(lambda: committed(topics, group.topic, group.topic)[0] >= 0 and first.names() == {"0", "1"}, "told")
    first.source._told._tell_at = float("inf")  # type: ignore[attr-defined]
    group.until(lambda: len(numbers(first)) == 100, "all is read")
    topics.send(group.topic, [*numbered(50, 50), *numbered(50, 150, 1)])
    group.until(lambda: len(numbers(first)) == 200, "all is read")
    assert committed(topics, group.topic, group.topic)[0] < 100
    group.die(first)
    again = group.join("a")
    topics.send(group.topic, [*numbered(5, 200), *numbered(5, 300, 1)])
    group.until(lambda: len(numbers(again)) >= 10, "it reads on, within its session")
    assert numbers(again) == [*range(200, 205), *range(300, 305)]


def test_a_member_that_is_blocked_for_longer_than_the_broker_waits_for_a_poll_keeps_what_it_has(
    group: Group, topics: Topics
) -> None:
    topics.send(group.topic, [*numbered(50), *numbered(50, 100, 1)])
    member = group.join("a")
    group.until(lambda: member.names() == {"0", "1"}, "it has both")
    member.reads = False
    end = time.monotonic() + 8.0  # max.poll.interval.ms is 6 s
    group.until(lambda: time.monotonic() > end, "it is blocked")
    member.reads = True
    topics.send(group.topic, [*numbered(5, 50), *numbered(5, 150, 1)])
    group.until(lambda: len(numbers(member)) == 110, "it reads on")
    assert numbers(member) == [*range(55), *range(100, 155)], "each once"
    assert not [unit for unit in member.ledger.known("kafka ") if unit.status == HANDED_OVER]


def test_one_that_did_not_poll_for_too_long_has_lost_what_it_had_and_commits_nothing_more_of_it(
    group: Group, topics: Topics
) -> None:
    first, second = group.join("a"), group.join("b")
    group.until(lambda: len(first.names()) == len(second.names()) == 1, "each has one")
    topics.send(group.topic, [*numbered(50), *numbered(50, 100, 1)])
    group.until(lambda: len(numbers(first, second)) == 100, "all is read")
    group.until(lambda: all(committed(topics, group.topic, group.topic, one)[0] == 50 for one in (0, 1)), "and told")
    first.drains = False
    topics.send(group.topic, [*numbered(10, 50), *numbered(10, 150, 1)])
    group.until(lambda: len(values(first.chunks)) == 60, "what the first has is handed out")
    group.members.remove(first)  # it stands still
    group.until(lambda: second.names() == {"0", "1"} and len(numbers(second)) == 70, "the other has both")
    group.until(lambda: all(committed(topics, group.topic, group.topic, one)[0] == 60 for one in (0, 1)), "and tells")
    group.members.append(first)
    group.until(lambda: any(said.is_lost for said in first.revoked), "it hears of it")
    first.drains = True
    topics.send(group.topic, [*numbered(10, 60), *numbered(10, 160, 1)])
    group.until(lambda: len(set(numbers(first, second))) == 140, "all is read")
    group.until(lambda: all(committed(topics, group.topic, group.topic, one)[0] == 70 for one in (0, 1)), "and told")
    assert numbers(first, second) == [*range(70), *range(100, 170)], "each once: what was void is not durable here"


def test_a_partition_that_comes_back_to_a_member_is_read_on(group: Group, topics: Topics) -> None:
    topics.send(group.topic, [*numbered(50), *numbered(50, 100, 1)])
    first = group.join("a")
    group.until(lambda: len(numbers(first)) == 100, "all is read")
    second = group.join("b")
    group.until(lambda: len(first.names()) == len(second.names()) == 1, "each has one")
    topics.send(group.topic, [*numbered(10, 50), *numbered(10, 150, 1)])
    group.until(lambda: len(numbers(first, second)) == 120, "both read on")
    low = len(numbers(second)) + 50
    number = int(min(second.names()))
    group.until(lambda: committed(topics, group.topic, group.topic, number)[0] == low, "what the second has is told")
    group.die(second)
    topics.send(group.topic, [*numbered(10, 60), *numbered(10, 160, 1)])
    group.until(lambda: len(numbers(first, second)) == 140, "it is the first's again, and read on")
    assert numbers(first, second) == [*range(70), *range(100, 170)], "each once"


def test_a_partition_that_is_added_is_read_from_its_beginning_in_a_group_that_has_begun_at_the_end(
    group: Group, topics: Topics
) -> None:
    topics.send(group.topic, numbered(10))
    member = group.join("a", start="latest")
    group.until(lambda: member.names() == {"0", "1"}, "it has both")
    group.until(lambda: committed(topics, group.topic, group.topic)[0] == 10, "where it has begun is told")
    topics.grow(group.topic, 3)
    topics.send(group.topic, numbered(5, 100, 2))
    group.until(lambda: len(numbers(member)) == 5, "it is read")
    assert numbers(member) == list(range(100, 105))


def test_a_topic_that_is_removed_is_handed_over_to_nobody_what_was_fetched_goes_on_and_the_rest_is_told(
    group: Group, topics: Topics
) -> None:
    topics.send(group.topic, [*numbered(60), *numbered(60, 100, 1)])
    member = group.join("a")
    group.until(lambda: len(numbers(member)) >= 10, "some of it is durable")
    member.reads = False
    topics.delete(group.topic)
    units = member.ledger.known("kafka ")
    until_it_works(group, lambda: all(unit.note for unit in units))
    member.reads = True
    until_it_works(group, lambda: all(unit.end is not None for unit in units))
    assert not member.revoked and {unit.status for unit in units} == {"reading"}
    for unit, first in zip(units, (0, 100), strict=True):
        mine = [chunk for chunk in member.chunks if chunk.unit == unit.id]
        found = [int(value or b"") for value in values(mine)]
        assert found == list(range(first, first + len(found))), "what was fetched"
        assert mine[-1].fault and (mine[-1].start, unit.end) == (len(found), max(60, len(found) + 1)), "the rest"
        assert "the topic was removed" in mine[-1].detail


def test_a_second_run_with_a_copy_of_the_state_directory_is_told_apart(group: Group, topics: Topics) -> None:
    first = group.join("a")
    group.until(lambda: first.names() == {"0", "1"}, "it has both")
    shutil.copytree(group.folder / "a", group.folder / "b")
    group.join("b")
    with pytest.raises(ConfigError, match="expected one run with this state directory"):
        group.until(lambda: False, "it is fenced")


def _fold() -> Fold:
    return Fold(partials=lambda values: {}, keys=("key",), fields=("number",))


@pytest.mark.parametrize(("more", "said"), [
    ({}, "what is folded is kept"),
    ({"windows": Windows(time=int, emit=lambda window, groups: [])}, "windows are kept"),
    ({"distinct": Distinct(limit=10, emit=lambda numbers: [])}, "distinct numbers are kept")])
def test_what_is_folded_cannot_go_with_a_partition_so_it_is_refused(more: dict[str, object], said: str) -> None:
    pipeline = Pipeline(name="p", source=Kafka(), parse=bytes, fold=_fold(), sinks={}, **more)  # type: ignore[arg-type]
    assert said in why_not_moved(pipeline, Kafka(topics=["kafka://h/t"], group="g"))
    assert why_not_moved(pipeline, Kafka(topics=["kafka://h/t"])) == ""
