"""What a tapped worker shows of its records, and that nobody waits for who looks."""

from __future__ import annotations

import argparse
import contextlib
import math
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from actors.apps import appsinstalled, connections
from actors.console.tap import belongs, main, render, require_stage, stages_of
from actors.runtime import rundir
from actors.runtime.errors import ConfigError, Finish, Reject
from actors.runtime.framing import Record, envelope_of, pack_records
from actors.runtime.messages import Batch, Late, Tap
from actors.runtime.outputs import Many
from actors.runtime.pipeline import Fold, Pipeline
from actors.runtime.sections import WindowOptions
from actors.runtime.tap import Inspector, Shown, Taps, plain
from actors.runtime.values import DeadLetter
from actors.runtime.windows import Placer
from actors.runtime.worker import Made, Output, PoolWorker
from actors.settings import load
from actors.sinks.dead_letters import DeadLetters
from actors.sinks.lines import Lines
from actors.sinks.lmdb import Lmdb
from actors.sources.files import Files
from actors.testing import MemorySource
from tests.outbox import Outbox

BATCH = Batch("p", 0, 100, 0, 0, 1, 7, "in.txt", 1000, 1, anchor=0, seen_ms=1_700_000_000_000)


def _parse(line: bytes) -> bytes | None:
    match line:
        case b"":
            return None
        case b"bad":
            raise Reject("form", "it is bad")
        case b"broken":
            raise ValueError("broken")
        case b"enough":
            raise Finish
    return line


def _check(value: bytes) -> bytes | None:
    return None if value == b"dull" else value


def _partials(values: list[bytes], unit: int) -> dict[tuple[Any, ...], list[Any]]:
    return {(unit, len(values[0])): [len(values)]}


def _encode(value: bytes) -> Any:
    return "no pair" if value == b"odd" else (value, value)


PIPELINE = Pipeline(
    name="small", source=Files(), parse=_parse, check=_check, encode=_encode,
    route=lambda value: {b"lost": None, b"far": "moon"}.get(value, "store"), sinks={"store": Lmdb()},
    dead_letters=DeadLetters(), fold=Fold(partials=_partials, keys=("unit", "length"), fields=("records",)))
SMALL = Inspector(PIPELINE, None, PIPELINE.sinks, None, DeadLetters())


@pytest.fixture
def listening(tmp_path: Path) -> Iterator[socket.socket]:
    path = tmp_path / "tap"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as receiver:
        receiver.bind(str(path))
        yield receiver


def path_of(receiver: socket.socket) -> str:
    return str(receiver.getsockname())


def received(receiver: socket.socket) -> list[Shown]:
    found = []
    while True:
        try:
            found.append(msgspec.msgpack.decode(receiver.recv(1 << 20), type=Shown))
        except BlockingIOError:
            return found


def fill(path: str) -> None:
    """Send until the queue of whoever listens is full."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as filler:
        filler.connect(path)
        with contextlib.suppress(BlockingIOError):
            while True:
                filler.send(b"x")


def through(line: bytes) -> dict[str, Any]:
    return {name: value for name, value in SMALL.through(BATCH, line).items() if value}


def test_a_line_is_shown_as_each_stage_sees_it() -> None:
    assert SMALL.through(BATCH, b"word") == {
        "parsed": b"word", "checked": b"word", "sink": "store", "item": [b"word", b"word"],
        "folded": [(None, None, None, [7, 4], [1])]}
    assert SMALL.through(BATCH, b"lost") == {
        "parsed": b"lost", "checked": b"lost", "sink": "", "folded": [(None, None, None, [7, 4], [1])]}


def test_what_goes_no_further_says_why() -> None:
    assert through(b"") == {"outcome": "no record"}
    assert through(b"dull") == {"parsed": b"dull", "outcome": "filtered"}
    assert through(b"enough") == {"outcome": "finish"}
    assert through(b"bad") == {"reject": ("parser", "form", "it is bad")}
    assert through(b"far")["reject"] == ("checker", "route", "no sink is called 'moon'")


def test_an_exception_is_the_reject_that_it_would_be() -> None:
    stage, reason, detail = through(b"broken")["reject"]
    assert (stage, reason) == ("parser", "parse_error")
    assert detail.endswith("ValueError: broken")


def test_of_a_record_that_several_things_are_made_of_one_is_shown_with_its_name() -> None:
    several = Pipeline(
        name="t", source=MemorySource(), parse=lambda line: Many(line.split()), sinks={"a": Lines(), "b": Lines()},
        route=lambda word: ("a", "b") if word == b"both" else "a" if word == b"one" else ())
    inspector = Inspector(several, None, several.sinks)
    shown = [inspector.through(BATCH, b"one both none") for _ in range(200)]
    assert {(each.get("output"), each["parsed"], each["sink"]) for each in shown} == {
        ("0", b"one", "a"), ("1/a", b"both", "a"), ("1/b", b"both", "b"), ("2", b"none", "")}
    assert inspector.through(BATCH, b"") == {"outcome": "filtered"} | {"reject": None}
    record = Shown(actor="parser.1", source="in.txt", offset=0, raw=b"both", size=4, parsed=b"both", output="1/a")
    assert render(record, "parser", errors=False, as_json=False) == "in.txt:0  output=1/a  both"


def test_a_generator_is_shown_as_the_reject_that_it_is() -> None:
    odd = Pipeline(name="t", source=MemorySource(), parse=lambda line: (x for x in line), sinks={"a": Lines()})
    stage, reason, detail = Inspector(odd, None, odd.sinks).through(BATCH, b"x")["reject"]
    assert (stage, reason) == ("parser", "parse_error")
    assert detail.endswith("return Many([...])")


def test_an_item_that_its_sink_cannot_pack_is_a_reject_like_in_a_run() -> None:
    shown = Inspector(PIPELINE, None, {"store": _Picky()}).through(BATCH, b"odd")
    assert shown["reject"][:2] == ("checker", "picky")
    assert "item" not in shown


class _Picky(Lmdb, frozen=True):
    def pack(self, items: Any) -> bytes:
        raise Reject("picky", "I take nothing")


def test_values_of_the_applications_that_ship_are_shown() -> None:
    line = b"idfa\te7e1\t67.5\t-22.5\t7,8"
    loading = appsinstalled.PIPELINE
    shown = Inspector(loading, loading.options, loading.sinks).through(BATCH, line)
    assert shown["parsed"] == line.split(b"\t")
    assert shown["sink"] == "idfa"
    assert shown["item"] == [b"idfa:e7e1", appsinstalled.encode_user_apps([7, 8], 67.5, -22.5)]
    assert shown["folded"] == [(None, None, None, [7, "idfa"], [1, 2, 0])]
    window, options = WindowOptions(size_s=3600), connections.Options(into_host="b")
    assert connections.PIPELINE.windows is not None
    placer = Placer(connections.PIPELINE.windows, options, window, 1)
    shown = Inspector(connections.PIPELINE, options, {}, placer).through(BATCH, b"1565647204351 a b")
    hour = (1565647200000, 1565650800000)
    assert shown["folded"] == [(*hour, [], ["out", "a"], [1]), (*hour, [], ["into b", "a"], [1])]
    late = msgspec.structs.replace(BATCH, late=(Late(0, hour[1]),))
    shown = Inspector(connections.PIPELINE, options, {}, placer).through(late, b"1565647204351 a b")
    assert shown["reject"][1] == "late"


def test_samples_are_whole_lines_at_their_offsets() -> None:
    data = b"one\n\ntwo words\nlast"
    found = {(shown.offset, shown.raw) for shown in SMALL.samples("parser.1", BATCH, data, 300)}
    assert found == {(1000, b"one"), (1004, b""), (1005, b"two words"), (1015, b"last")}


def test_a_payload_that_is_one_dead_letter_is_shown_as_such() -> None:
    batch = msgspec.structs.replace(BATCH, fault="truncated_gzip", detail="it ends early")
    (shown,) = SMALL.samples("parser.1", batch, b"half\na line", 10)
    assert (shown.reject, shown.raw) == (("reader", "truncated_gzip", "it ends early"), b"half\na line")


# Records ----------------------------------------------------------------------------------------------------------

RECORDS = [Record(2000, b"two\nlines", key=b"k", time=1_565_647_204_351, headers=(("h", b"\x1b"), ("n", None))),
           Record(2007, None, key=b"gone"), Record(2009, b"bad")]
OF_RECORDS = msgspec.structs.replace(BATCH, framing="records", offset=1990)


def _parse_record(value: bytes | None, record: Record) -> list[Any]:
    if value == b"bad":
        raise Reject("form", "it is bad")
    return [record.offset, record.key, value]


def inspector(parse: Any) -> Inspector:
    return Inspector(msgspec.structs.replace(PIPELINE, parse=parse, check=None, fold=None), None, PIPELINE.sinks, None,
                     DeadLetters())


def test_samples_of_records_are_whole_with_what_they_came_with() -> None:
    found = {shown.offset: shown for shown in inspector(_parse_record).samples(
        "parser.1", OF_RECORDS, pack_records(RECORDS), 300)}
    assert found.keys() == {2000, 2007, 2009}
    first, gone, bad = (found[offset] for offset in (2000, 2007, 2009))
    assert (first.raw, first.key, first.time, first.headers) == (
        b"two\nlines", b"k", 1_565_647_204_351, [("h", b"\x1b"), ("n", None)])
    assert (first.parsed, gone.parsed) == ([2000, b"k", b"two\nlines"], [2007, b"gone", None])
    assert (gone.raw, gone.size, gone.key) == (None, 0, b"gone")
    assert bad.reject == ("parser", "form", "it is bad")


def test_a_parse_that_asks_for_no_record_is_given_its_value() -> None:
    (shown,) = inspector(lambda value: value).samples("parser.1", OF_RECORDS, pack_records(RECORDS[:1]), 1)
    assert shown.parsed == b"two\nlines"


def test_a_parse_that_asks_for_records_is_given_lines_as_such() -> None:
    found = {shown.offset: shown for shown in inspector(lambda value, record: [value, record.offset, record.line])
             .samples("parser.1", BATCH, b"one\ntwo\n", 100)}
    assert {offset: shown.parsed for offset, shown in found.items()} == {
        1000: [b"one", 1000, 1], 1004: [b"two", 1004, 2]}


def test_a_record_that_is_one_dead_letter_is_shown_as_such() -> None:
    batch = msgspec.structs.replace(OF_RECORDS, fault="worker_died", detail="it hangs")
    (shown,) = inspector(_parse_record).samples("parser.1", batch, pack_records(RECORDS[1:2]), 10)
    assert (shown.reject, shown.raw, shown.key) == (("reader", "worker_died", "it hangs"), None, b"gone")


def test_dead_letters_of_records_are_shown_with_what_they_came_with() -> None:
    letters = [DeadLetter("parser", "form", "", "topic/0", "p", 5, record.offset, -1, record.value or b"",
                          envelope=envelope_of(record)) for record in RECORDS[:2]]
    found = {shown.offset: shown for shown in SMALL.letters("parser.1", DeadLetters().pack(letters), 10)}
    assert [(found[record.offset].raw, found[record.offset].key) for record in RECORDS[:2]] == [
        (b"two\nlines", b"k"), (None, b"gone")]


def test_a_record_is_printed_with_what_it_came_with_and_no_value_is_said() -> None:
    first, gone = (next(inspector(_parse_record).samples("parser.1", OF_RECORDS, pack_records([record]), 1))
                   for record in RECORDS[:2])
    assert render(first, "reader", False, False) == (
        'in.txt:2000  key=k  published=2019-08-12T22:00:04.351Z  headers=[["h", "\\u001b"], ["n", null]]  two\\nlines')
    assert render(gone, "reader", False, False) == "in.txt:2007  key=gone  (no value)"
    assert msgspec.json.decode(render(gone, "reader", False, True)) == {
        "stage": "reader", "actor": "parser.1", "source": "in.txt", "offset": 2007, "key": "gone", "raw": None}


@pytest.mark.parametrize(("value", "shown"), [
    ((1, b"x", None), [1, b"x", None]), (2**70, str(2**70)), ({(1, 2): 3}, {(1, 2): 3}), (object, repr(object)),
    (PIPELINE.parser, {"workers": 2, "fused": True, "max_rss_bytes": 0, "max_age_s": 0.0})])
def test_any_value_is_shown_in_some_way(value: Any, shown: Any) -> None:
    assert plain(value) == shown


def test_a_value_that_is_too_large_or_refuses_is_shown_as_a_short_text() -> None:
    class Rude:
        def __repr__(self) -> str:
            raise RuntimeError

    assert plain(Rude()) == "a Rude that cannot be shown"
    assert len(plain([b"x" * 100_000])) < 10_000
    assert math.isnan(plain(math.nan))


def worker(parts: list[Output] | None = None) -> PoolWorker:
    """A worker that makes these parts of any batch and can be tapped."""
    made = Made({"read": 2}, parts or [])
    return PoolWorker(Outbox("parser.1"), lambda batch, frames: made, 2,
                      lambda: Taps("parser.1", SMALL, "writer.dead_letters"))


def work(role: PoolWorker, data: bytes = b"word\nbad\n") -> None:
    role.message("reader.1#1", BATCH, [data])
    role.work(0.0)


def test_a_tapped_worker_shows_samples_and_the_dead_letters_it_made(listening: socket.socket) -> None:
    letter = DeadLetter("parser", "form", "it is bad", "in.txt", "p", 5, 1005, 2, b"bad")
    role = worker([Output("writer.dead_letters", 1, {}, [DeadLetters().pack([letter])])])
    work(role)
    assert received(listening) == []
    role.message("supervisor", Tap(path_of(listening), 5.0), [])
    work(role)
    found = received(listening)
    letters = [shown for shown in found if shown.is_letter]
    assert [(shown.reject, shown.offset, shown.raw) for shown in letters] == [
        (("parser", "form", "it is bad"), 1005, b"bad")]
    assert {shown.raw for shown in found if not shown.is_letter} <= {b"word", b"bad"}
    assert len(found) == 10, "so many at a time"
    role.close()


def test_a_worker_shows_no_more_than_its_rate(listening: socket.socket) -> None:
    role = worker()
    role.message("supervisor", Tap(path_of(listening), 5.0), [])
    for _ in range(5):
        work(role)
    assert 10 <= len(received(listening)) < 15
    role.close()


def test_a_tap_that_is_not_renewed_or_has_no_reader_ends(listening: socket.socket) -> None:
    role = worker()
    role.message("supervisor", Tap(path_of(listening), 0.0), [])
    work(role)
    assert (received(listening), role._taps) == ([], None)
    role.message("supervisor", Tap(path_of(listening), 60.0), [])
    listening.close()
    work(role)
    work(role)
    assert role._taps is None
    role.message("supervisor", Tap("/nowhere/tap", 60.0), [])
    work(role)
    assert role._taps is None


def test_a_reader_that_has_stopped_is_left_alone_and_found_again(listening: socket.socket) -> None:
    inspector = Inspector(PIPELINE, None, PIPELINE.sinks)
    taps = Taps("parser.1", inspector, "")
    taps.tap(Tap(path_of(listening), 60.0))
    fill(path_of(listening))
    assert taps.show(BATCH, b"word\n", {})
    assert taps._paused, "its socket is full"
    while True:
        try:
            listening.recv(10)
        except BlockingIOError:
            break
    taps._paused.clear()
    taps._left = 5.0
    assert taps.show(BATCH, b"word\n", {})
    assert received(listening)
    taps.close()


def test_whatever_goes_wrong_in_a_tap_stays_there(listening: socket.socket) -> None:
    class Broken(Inspector):
        def through(self, batch: Batch, given: bytes | Record | None) -> dict[str, Any]:
            raise RuntimeError("broken")

    taps = Taps("parser.1", Broken(PIPELINE, None, PIPELINE.sinks), "")
    taps.tap(Tap(path_of(listening), 60.0))
    assert taps.show(BATCH, b"word\n", {})
    taps.close()


def test_an_unknown_stage_is_told_which_ones_there_are_and_why_not_this() -> None:
    manifest = load("connections").manifest
    assert stages_of(manifest) == ["reader", "parser", "checker", "aggregator", "writer.dead_letters"]
    assert stages_of(load("appsinstalled").manifest)[4:] == [
        "writer.idfa", "writer.gaid", "writer.adid", "writer.dvid", "writer.dead_letters"]
    with pytest.raises(ConfigError, match=r"tap reporter: expected one of reader, parser, checker, aggregator"):
        require_stage("reporter", False, manifest)
    with pytest.raises(ConfigError, match=r"aggregators emit"):
        require_stage("writer.report", False, manifest)
    with pytest.raises(ConfigError, match=r"nothing is rejected there"):
        require_stage("aggregator", True, manifest)


SAMPLE = Shown(actor="parser.1", source="in.txt", offset=5, raw=b"a\x1b[2Jb", size=6, parsed=["a", b"\xff"],
               checked=["a"], sink="store", item=[b"k", b"v"], has_letters=True)


def test_a_record_is_printed_in_one_line_that_no_terminal_obeys() -> None:
    assert render(SAMPLE, "reader", False, False) == "in.txt:5  a\\x1b[2Jb"
    assert render(SAMPLE, "checker", False, False) == 'in.txt:5  ["a"]  sink=store  item=["k", "v"]'
    assert msgspec.json.decode(render(SAMPLE, "parser", False, True)) == {
        "stage": "parser", "actor": "parser.1", "source": "in.txt", "offset": 5, "value": ["a", {"base64": "/w=="}]}


def test_a_stage_shows_its_own_records_and_rejects_come_once() -> None:
    reject = Shown(actor="parser.1", source="in.txt", offset=5, raw=b"x", size=1, reject=("parser", "form", ""))
    sampled = msgspec.structs.replace(reject, has_letters=True)
    letter = msgspec.structs.replace(reject, has_letters=True, is_letter=True)
    errors = [shown for shown in (SAMPLE, sampled, letter) if belongs(shown, "writer.dead_letters", False)]
    assert errors == [letter]
    assert belongs(reject, "writer.dead_letters", False)
    assert [belongs(letter, stage, True) for stage in ("reader", "parser", "checker")] == [False, True, False]
    assert [belongs(SAMPLE, stage, False) for stage in ("reader", "writer.store", "writer.other", "aggregator")] == [
        True, True, False, False]
    assert belongs(sampled, "reader", False)
    assert not belongs(sampled, "parser", False)
    assert not belongs(letter, "reader", False)


def test_a_run_that_ends_while_it_is_asked_is_said_to_have_ended(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rundir, "find", lambda state: tmp_path / "gone")
    with pytest.raises(ConfigError, match="just begun or ended"):
        main(argparse.Namespace(target=None, state=str(tmp_path), stage="parser", errors=False))
