"""The journal of messages: all that they came with comes back, and the same chunks, whatever happened to the file."""

from __future__ import annotations

import tracemalloc
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.runtime.framing import Record, records_in
from actors.sources.framings.enveloped import Message, messages_in, packed
from actors.sources.journal import MESSAGES, Journal
from tests.fakes import MemoryLedger

SOME = [Message(b"a\n%d" % number if number % 3 else None, 1000 + number, b"k%d" % number if number % 2 else None,
                (("n", b"%d" % number), ("n", None))) for number in range(30)]


def opened(state: Path, ledger: MemoryLedger, batch_bytes: int = 200) -> Journal:
    return Journal(state, "journal", ledger, batch_bytes, 10_000, False, MESSAGES)


def values(records: list[Record]) -> list[Message]:
    return [Message(record.value, record.time, record.key, record.headers) for record in records]


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
        file.write(b"\0\0\0\x20half of one")
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
    path.write_bytes(packed(messages) + b"\0\0\0\x09abc")
    assert list(messages_in(path)) == messages


def test_a_long_segment_is_never_whole_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "segment"
    with path.open("wb") as file:
        for number in range(200):
            file.write(packed([Message(bytes([number]) * 100_000)]))
    tracemalloc.start()
    try:
        assert [message.value[0] for message in messages_in(path) if message.value] == list(range(200))
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()
