"""The tcp source with each framing, over real sockets: what clients have sent is in the journal, record by record."""

from __future__ import annotations

import socket
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest

from actors.sources.framings.writes import HEADER_BYTES, header_of
from actors.sources.tcp import Tcp
from tests.framings import FRAMINGS, Framing, Outcome, outcomes_of
from tests.properties.test_fuzzed_framings import content_of
from tests.tcp import Reading, is_closed, reading

MOST = 700
each_framing = pytest.mark.parametrize("framing", FRAMINGS.values(), ids=FRAMINGS)


def values(here: Reading) -> list[bytes]:
    return [outcome.value for outcome in outcomes_of(here.chunks)]


def plainly(framing: Framing, content: bytes) -> list[bytes]:
    """The records up to the first fault, and but for a last one of which nobody knows whether it is whole."""
    found: list[Outcome] = []
    for outcome in framing.read(content, MOST):
        if outcome.reason:
            break
        found.append(outcome)
    if framing.options["framing"] in ("csv", "multiline") and not content.endswith(b"\n"):
        found = found[:-1]
    return [outcome.value for outcome in found]


@each_framing
def test_the_records_of_a_client_up_to_the_first_that_is_none_are_in_the_journal(
    tmp_path: Path, framing: Framing
) -> None:
    contents = [content_of(framing, seed) for seed in (0, 5)]
    wanted = [plainly(framing, content) for content in contents]
    with reading(tmp_path, 4096, **framing.set(MOST), segment_bytes=20_000) as here:
        for content, expected in zip(contents, wanted, strict=True):
            before = len(values(here))
            with here.connect() as client:
                chance, at = Random(3), 0
                try:
                    while at < len(content):
                        at += client.send(content[at:at + chance.randint(1, 9000)])
                        here.read()
                    client.shutdown(socket.SHUT_WR)
                except OSError:
                    pass  # it has sent what is no record
                here.until_closed(client)
            here.read_all()
            assert values(here)[before:] == expected
        for before_it, after in zip(here.chunks, here.chunks[1:], strict=False):
            assert before_it.unit != after.unit or before_it.end == after.start
        again = here.as_after_a_kill(tmp_path / "again", **framing.set(MOST))
        try:
            again.read_all()
            assert values(again) == wanted[0] + wanted[1]
            assert [(chunk.start, chunk.end, chunk.data) for chunk in again.chunks] == [
                (chunk.start, chunk.end, chunk.data) for chunk in here.chunks]
        finally:
            again.close()


def test_places_are_those_of_the_journal(tmp_path: Path) -> None:
    with reading(tmp_path, framing="csv") as here, here.connect() as client:
        client.sendall(b'1,"a\nb"\n2,c\n')
        here.until(lambda: len(values(here)) == 2)
        (path,) = (tmp_path / "journal").glob("*.records")
        found = path.read_bytes()
        places = [(place, -1, "", record) for place, record in (
            (found.index(b"\0\0\0\x0b1"), b'1,"a\nb"'), (found.index(b"\0\0\0\x072"), b"2,c"))]
        assert outcomes_of(here.chunks) == places and places[0][0] == HEADER_BYTES
        assert b'\0\0\0\x0b1,"a\nb"' in found and found.endswith(b"\0\0\0\x072,c")


def test_clients_take_turns_and_none_of_them_ends_a_record_of_another(tmp_path: Path) -> None:
    with reading(tmp_path, framing="csv", header="skip") as here, here.connect() as one, here.connect() as two:
        one.sendall(b'name\n1,"a')
        two.sendall(b"name\n2,b\n")
        here.until(lambda: values(here) == [b"2,b"])
        one.sendall(b'\n2"\n')
        here.until(lambda: values(here) == [b"2,b", b'1,"a\n2"'])


@pytest.mark.parametrize("bad", [b"\0" * 600 + b"x", b'"a\nb"c\n', b"x" * 80])
def test_a_client_that_sends_what_is_no_record_is_closed_and_nobody_else(tmp_path: Path, bad: bytes) -> None:
    with reading(tmp_path, framing="csv", max_record_bytes=60) as here, here.connect() as one, here.connect() as two:
        one.sendall(b"1,2\n" + bad)
        here.until_closed(one)
        two.sendall(b"3,4\n")
        here.until(lambda: values(here) == [b"1,2", b"3,4"])
        assert not is_closed(two)


def test_the_last_record_of_a_client_is_whole_when_it_is_silent_or_has_gone(tmp_path: Path) -> None:
    options: dict[str, Any] = {"framing": "multiline", "record_start": "[0-9]", "idle_timeout_s": 0.05}
    with reading(tmp_path, **options) as here, here.connect() as client:
        client.sendall(b"1 a\n at x\n")
        here.until(lambda: values(here) == [b"1 a\n at x"])
        client.sendall(b" at y\n2 b\n at z\n hal")
        here.until(lambda: values(here)[1:] == [b" at y", b"2 b\n at z"])
    options["idle_timeout_s"] = 3600
    with reading(tmp_path / "gone", **options) as here:
        with here.connect() as client:
            client.sendall(b"1 a\n at x\n hal")
        here.until(lambda: values(here) == [b"1 a\n at x"])


def test_to_stop_hands_out_what_is_whole_because_nothing_follows(tmp_path: Path) -> None:
    options: dict[str, Any] = {"framing": "multiline", "record_start": "[0-9]", "idle_timeout_s": 3600}
    with reading(tmp_path, **options) as here, here.connect() as client:
        client.sendall(b"1 a\n2 b\n at x\n")
        here.until(lambda: values(here) == [b"1 a"])
        here.source.stop()
        here.read_all()
        assert values(here) == [b"1 a", b"2 b\n at x"]
        assert here.source.exhausted


@pytest.mark.parametrize("rest", [b"\x93TJ1\0\0", b"\0\0", bytes(5000)])
def test_half_a_record_at_the_end_of_the_journal_was_never_accepted(tmp_path: Path, rest: bytes) -> None:
    with reading(tmp_path / "a", framing="csv") as here, here.connect() as client:
        client.sendall(b"1\n2\n")
        here.until(lambda: values(here) == [b"1", b"2"])
        (path,) = (tmp_path / "a/journal").glob("*.records")
        with path.open("ab") as file:
            records = b"\0\0\0\x053"
            file.write(header_of(records, path.stat().st_size, path.name[7:23]) + records + rest)
        again = here.as_after_a_kill(tmp_path / "b", framing="csv")
        try:
            again.read_all()
            assert values(again) == [b"1", b"2", b"3"]
        finally:
            again.close()


def test_a_journal_of_lines_is_read_on_by_a_run_that_is_framed_in_another_way(tmp_path: Path) -> None:
    with reading(tmp_path / "a") as here, here.connect() as client:
        client.sendall(b"one\ntwo\n")
        here.until_data(8)
        again = here.as_after_a_kill(tmp_path / "b", framing="csv")
        try:
            again.read_all()
            assert again.data == b"one\ntwo\n"
            with again.connect() as other:
                other.sendall(b"3\n")
                again.until(lambda: len(again.chunks) == 2)
            assert values_of(again) == [b"3"]
        finally:
            again.close()


def values_of(here: Reading) -> list[bytes]:
    return [outcome.value for outcome in outcomes_of([chunk for chunk in here.chunks if chunk.framing])]


@pytest.mark.parametrize(("options", "what"), [
    ({"framing": "csv", "line": "[0-9]"}, 'line: it is for framing = "lines"'),
    ({"framing": "csv", "newline": "any"}, 'newline: it is for framing = "lines"'),
    ({"framing": "multiline"}, "record_start: expected a regular expression"),
])
def test_options_that_cannot_be_are_refused(options: dict[str, object], what: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=what):
        msgspec.convert({"port": 0, **options}, Tcp)
