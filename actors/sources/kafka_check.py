"""``check`` of the source `kafka`: is the broker there, and are the topics? May this user read them? Is what is next
there?"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from actors.kafka.clients import Heard, Said, is_hopeless, sentence
from actors.runtime.errors import ConfigError
from actors.runtime.units import ANY_RUN, LEDGER, read_units
from actors.runtime.values import Unit
from actors.sources.kafka_lookups import EARLIEST, LATEST, Lookups, TopicFound
from actors.sources.kafka_partitions import KIND, Key, partition_of
from actors.sources.kafka_topics import Wanted

#: Seconds that an answer may take.
_PATIENCE_S = 10.0
_MISSING = "UNKNOWN_TOPIC_OR_PART"


def problems_of(wanted: Wanted, configuration: tuple[Mapping[str, Any], Mapping[str, Any]], group: str, state: Path,
                refused: Callable[[Exception], ConfigError]) -> list[str]:
    """Say what keeps these topics from being read now. Nothing is changed, and no group is joined.

    Args:
        wanted: what is to be read.
        configuration: of the client that reads, and of the one that asks.
        group: that is told of positions; empty: one that has the name of a state directory.
        state: what was read before.
        refused: makes an error of what the library says of a property.

    Raises:
        ConfigError: only another configuration can help.
    """
    heard = Heard(wanted.client)
    try:
        _require_reader(configuration[0])
        lookups = Lookups(configuration[1], heard, _PATIENCE_S)
    except ImportError:
        raise
    except Exception as error:
        raise refused(error) from error
    found, failed = lookups.wait(lookups.topics(wanted.topics, operations=True), heard.is_in_vain)
    if heard.hopeless:
        raise ConfigError(heard.hopeless)
    if not found and not failed:
        return [heard.last()]
    for said in failed.values():
        if is_hopeless(said):
            raise ConfigError(sentence(said, wanted.client))
    if failed and all(said.name() != _MISSING for said in failed.values()):
        return [sentence(next(iter(failed.values())), wanted.client, heard.last())]
    return [*_of_topics(wanted, found, failed), *_of_group(group, wanted, lookups),
            *_of_starts(wanted, lookups, found, state)]


def _require_reader(configuration: Mapping[str, Any]) -> None:
    """Make sure that the library takes the properties of the client that reads; nobody is waited for."""
    from confluent_kafka import Consumer

    Consumer(dict(configuration)).close()


def _of_topics(wanted: Wanted, found: Mapping[str, TopicFound], failed: Mapping[str, Said]) -> Iterator[str]:
    for name, error in failed.items():
        if error.name() != _MISSING:
            yield f"topic {name}: {sentence(error, wanted.client)}"
        elif wanted.follow:
            yield f"there is no topic {name}: make it, or set source.topics"
        else:
            raise ConfigError(f"there is no topic {name}: make it, or set source.topics; one that is followed may come "
                              "later")
    for name, topic in found.items():
        if topic.operations and not topic.operations & {"READ", "ALL"}:
            raise ConfigError(f"topic {name}: this user may not read it: let it (an ACL of the topic), or set sasl.* "
                              "in client")
        absent = [number for number in wanted.partitions if number >= topic.partitions]
        if absent:
            raise ConfigError(f"source.partitions: expected 0 to {topic.partitions - 1}, as topic {name} has them, got "
                              f"{absent[0]}")


def _of_group(group: str, wanted: Wanted, lookups: Lookups) -> Iterator[str]:
    """Whether the broker may be told of positions: a member of a group has to, others read all the same."""
    if not group:
        return
    found, failed = lookups.wait(lookups.groups([group]))
    problems = [sentence(error, wanted.client) for error in failed.values()]
    hopeless = any(map(is_hopeless, failed.values()))
    for operations in found.values():
        if operations and not operations & {"READ", "ALL"}:
            problems.append("this user may not commit to it: let it (an ACL of the group), or set sasl.* in client")
            hopeless = True
    for problem in problems:
        if hopeless and wanted.group:
            raise ConfigError(f"group {group}: {problem}")
        yield f"group {group}: {problem}"


def _of_starts(wanted: Wanted, lookups: Lookups, found: Mapping[str, TopicFound], state: Path) -> Iterator[str]:
    """Whether what this state reads next is there."""
    keys = [(name, number) for name, topic in found.items() for number in range(topic.partitions)
            if not wanted.partitions or number in wanted.partitions]
    firsts, no_first = lookups.wait(lookups.offsets(dict.fromkeys(keys, EARLIEST)))
    ends, no_end = lookups.wait(lookups.offsets(dict.fromkeys(keys, LATEST)))
    for key, error in (no_first | no_end).items():
        yield f"{key[0]}/{key[1]}: {sentence(error, wanted.client)}"
    known = _known(state, found)
    for key, unit in known.items():
        first, end = firsts.get(key) or 0, ends.get(key)
        if key in firsts and unit.low < first:
            yield (f"{unit.name}: offsets {unit.low} to {first - 1} are not there any more, and were not read: "
                   "retention took them; a run tells them as source_lost, and goes on behind them")
        if end is not None and unit.low > end:
            yield f"{unit.name}: it ends at offset {end}, and was read up to {unit.low}: its log was cut back"
    for key in sorted(firsts.keys() - known.keys()):
        first = firsts[key] or 0
        if wanted.offset is not None and 0 <= wanted.offset < first:
            yield (f"source.start: {key[0]}/{key[1]} has nothing in front of offset {first} any more: a run tells what "
                   "is gone as source_lost")
    if wanted.start >= 0:
        moments, _ = lookups.wait(lookups.offsets(dict.fromkeys(keys, wanted.start)))
        if moments and all(moment is None for moment in moments.values()):
            yield "source.start: nothing is as new as that: reading begins with what comes next"


def _known(state: Path, found: Mapping[str, TopicFound]) -> dict[Key, Unit]:
    """The units that this state goes on with."""
    try:
        units = read_units(state / LEDGER, ANY_RUN)
    except sqlite3.Error:
        return {}
    names = {topic.id: name for name, topic in found.items()}
    known = {partition_of(unit.fingerprint): unit for unit in units if unit.fingerprint.startswith(KIND)}
    return {(names[topic], number): unit for (topic, number), unit in known.items() if topic in names}
