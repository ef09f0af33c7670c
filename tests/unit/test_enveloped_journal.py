"""The journal of messages: all that they came with comes back, and the same chunks, whatever happened to the file."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.runtime.framing import Record, records_in
from actors.runtime.values import Chunk
from actors.sources.framings.enveloped import Message, messages_in, packed
from actors.sources.framings.writes import HEADER_BYTES, header_of
from actors.sources.journal import MESSAGES, Journal
from tests.fakes import MemoryLedger

SOME = [Message(b"a\n%d" % number if number % 3 else None, 1000 + number, b"k%d" % number if number % 2 else None,
                (("n", b"%d" % number), ("n", None))) for number in range(30)]
NAME = "0123456789abcdef"


def opened(state: Path, ledger: MemoryLedger, batch_bytes: int = 200) -> Journal:
    return Journal(state, "journal", ledger, batch_bytes, 10_000, False, MESSAGES)


def values(records: list[Record]) -> list[Message]:
    return [Message(record.value, record.time, record.key, record.headers) for record in records]


def written(messages: list[Message], place: int) -> bytes:
    records = packed(messages)
    return header_of(records, place, NAME) + records


def test_what_is_appended_is_handed_out_and_comes_back_after_a_death(tmp_path: Path) -> None:
    ledger = MemoryLedger()
    before = opened(tmp_path, ledger)
    chunks = [before.append(packed(SOME[start:start + 10])) for start in range(0, 30, 10)]
    for chunk in chunks[:2]:
        ledger.issue(chunk)
    assert values([record for chunk in chunks for record in records_in(chunk.data)]) == SOME
    offsets = [record.offset for chunk in chunks for record in records_in(chunk.data)]
    assert offsets == sorted(set(offsets))
    (path,) = (tmp_path / "journal").iterdir()
    with path.open("ab") as file:
        file.write(header_of(b"never finished", path.stat().st_size, path.name[7:23]) + b"never fin")
    with closing(opened(tmp_path, ledger.reopened())) as journal:
        again = list(iter(journal.left, None))
    assert again[:2] == chunks[:2]  # those that were issued, in the same ranges
    assert values([record for chunk in again for record in records_in(chunk.data)]) == SOME


@given(st.lists(st.builds(
    Message, st.none() | st.binary(max_size=40), st.none() | st.integers(0, 1 << 50), st.none() | st.binary(max_size=5),
    st.lists(st.tuples(st.text(max_size=5), st.none() | st.binary(max_size=5)), max_size=3).map(tuple)), max_size=20))
def test_messages_are_packed_and_found_again(
    tmp_path_factory: pytest.TempPathFactory, messages: list[Message]
) -> None:
    path = tmp_path_factory.mktemp("journal") / "segment"
    path.write_bytes(written(messages, 0) + header_of(b"never finished", 0, NAME) + b"never fin")
    assert list(messages_in(path, NAME)) == messages


def test_a_long_segment_is_never_whole_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "segment"
    with path.open("wb") as file:
        for number in range(200):
            file.write(written([Message(bytes([number]) * 100_000)], file.tell()))
    tracemalloc.start()
    try:
        assert [message.value[0] for message in messages_in(path, NAME) if message.value] == list(range(200))
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()


def spoiled(state: Path, ledger: MemoryLedger, writes: int, spoil: Callable[[bytearray, list[int]], None]) -> Path:
    """A journal of so many writes of one message, of which the first half was issued; its bytes, and where the writes
    begin, are given to ``spoil``."""
    journal = opened(state, ledger, 10_000)
    places = []
    for number in range(writes):
        chunk = journal.append(packed([Message(b"%d " % number * 50)]))
        places.append(chunk.start)
        if number < writes // 2:
            ledger.issue(chunk)
    (path,) = (state / "journal").iterdir()
    data = bytearray(path.read_bytes())
    spoil(data, places)
    path.write_bytes(data)
    return path


def found_in(state: Path, ledger: MemoryLedger) -> tuple[list[int], list[Chunk]]:
    """The numbers of the messages that are left, and the faults."""
    with closing(opened(state, ledger, 10_000)) as journal:
        chunks = list(iter(journal.left, None))
    assert all(one.end == two.start for one, two in pairwise(chunks))
    good = [record for chunk in chunks if not chunk.fault for record in records_in(chunk.data)]
    return [int((record.value or b"").split()[0]) for record in good], [chunk for chunk in chunks if chunk.fault]


@pytest.mark.parametrize(("first", "gone"), [(2, [2]), (5, [5]), (0, [0]), (9, [9])])
def test_a_bit_that_is_flipped_is_found_and_costs_its_write_alone(
    tmp_path: Path, first: int, gone: list[int]
) -> None:
    ledger = MemoryLedger()

    def spoil(data: bytearray, places: list[int]) -> None:
        data[places[first] + HEADER_BYTES + 30] ^= 1
        data += bytes(10) if first == 9 else b""

    path = spoiled(tmp_path, ledger, 10, spoil)
    ledger = ledger.reopened()
    good, (fault,) = found_in(tmp_path, ledger)
    assert good == [number for number in range(10) if number not in gone]
    assert fault.fault == "source_damaged" and f"{path}: byte {fault.offset} of the content" in fault.detail
    assert ledger.units[0].damage == fault.detail
    assert [value for value in messages_in(path, path.name[7:23]) if value.value == b"%d " % first * 50] == []


@pytest.mark.parametrize("length", [3, 16, 400, 1000])
@pytest.mark.parametrize("write", [1, 8, 11])
def test_a_hole_costs_the_writes_that_it_touches_and_hides_none_behind_it(
    tmp_path: Path, write: int, length: int
) -> None:
    ledger = MemoryLedger()
    places: list[int] = []

    def spoil(data: bytearray, found: list[int]) -> None:
        places.extend(found)
        data[found[write] + 5:found[write] + 5 + length] = bytes(length)

    path = spoiled(tmp_path, ledger, 20, spoil)
    ends = [*places[1:], path.stat().st_size]
    good, faults = found_in(tmp_path, ledger.reopened())
    assert good == [number for number, (place, end) in enumerate(zip(places, ends, strict=True))
                    if end <= places[write] + 5 or place >= places[write] + 5 + length]
    assert {chunk.fault for chunk in faults} == {"source_damaged"}
    assert faults[0].start == places[write]
    assert path.stat().st_size > places[-1]  # nothing was cut off


def test_a_message_that_is_a_copy_of_a_journal_is_none_however_its_write_is_damaged(tmp_path: Path) -> None:
    ledger = MemoryLedger()
    journal = opened(tmp_path, ledger, 10_000)
    journal.append(packed([Message(b"1 ")]))
    (path,) = (tmp_path / "journal").iterdir()
    journal.append(packed([Message(path.read_bytes())]))
    journal.append(packed([Message(b"3 ")]))
    data = bytearray(path.read_bytes())
    data[data.index(b"\x93TJ1", 1) + 4] ^= 1  # the header of the second
    path.write_bytes(data)
    good, (fault,) = found_in(tmp_path, ledger.reopened())
    assert (good, fault.fault) == ([1, 3], "source_damaged")


def test_an_end_that_is_damaged_is_no_write_that_was_never_finished_when_it_was_issued(tmp_path: Path) -> None:
    for name, issued in (("a", True), ("b", False)):
        ledger = MemoryLedger()
        journal = opened(tmp_path / name, ledger, 10_000)
        for number in range(2):
            chunk = journal.append(packed([Message(b"%d " % number)]))
            if issued or not number:
                ledger.issue(chunk)
        (path,) = (tmp_path / name / "journal").iterdir()
        path.write_bytes(path.read_bytes()[:-1] + b"?")
        good, faults = found_in(tmp_path / name, ledger)
        assert (good, [chunk.fault for chunk in faults]) == ([0], ["source_damaged"] * issued)
        assert ("no whole write" in ledger.units[0].note) is not issued  # it is not known which of both, so it is told
        assert path.stat().st_size == (chunk.end if issued else chunk.start)


def test_what_is_cut_off_of_what_was_issued_is_lost_and_the_rest_is_kept_aside(tmp_path: Path) -> None:
    ledger = MemoryLedger()
    places: list[int] = []

    def spoil(data: bytearray, found: list[int]) -> None:
        places.extend(found)
        del data[found[2] + 3:]

    path = spoiled(tmp_path, ledger, 8, spoil)
    ledger = ledger.reopened()
    with closing(opened(tmp_path, ledger, 10_000)) as journal:
        chunks = list(iter(journal.left, None))
        assert [(chunk.start, chunk.fault) for chunk in chunks[:4]] == [
            (places[0], ""), (places[1], ""), (places[2], "source_lost"), (places[3], "source_lost")]
        assert f"it has {places[2] + 3} bytes, and had {places[4]} or more" in ledger.units[0].damage
        journal.put_away(ledger.units[0])
    assert path.with_name(path.name + ".damaged").stat().st_size == places[2] + 3
    with closing(opened(tmp_path, MemoryLedger())) as journal:
        assert journal.left() is None
