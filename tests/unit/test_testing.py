"""``actors.testing``: what users' own tests are built on."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from actors.apps import appsinstalled
from actors.runtime.errors import ConfigError, Reject
from actors.runtime.framing import Record, record_of, records_in
from actors.runtime.pipeline import Fold, Pipeline, per_chunk
from actors.runtime.values import Payload
from actors.sinks.memcached import Memcached
from actors.testing import FakeClock, Faults, MemorySink, MemorySource, UnorderedMemorySink, run_inline
from actors.testing.memory import MemoryStore
from actors.testing.reading_memory import MemoryReading
from scripts.make_logs import make_lines
from tests.fakes import MemoryLedger
from tests.loads import ROOT, expected_stores


class Options(msgspec.Struct, frozen=True):
    """Options of the pipeline below."""

    limit: int = 100


def parse(line: bytes) -> Any:
    if not line:
        return None
    word, _, number = line.partition(b" ")
    if not number.isdigit():
        raise Reject("number", "no digits")
    return word, int(number)


def check(row: Any, options: Options) -> Any:
    return row if row[1] < options.limit else None


def partials(rows: list[Any], unit: int) -> dict[tuple[Any, ...], list[Any]]:
    sums: dict[tuple[Any, ...], list[Any]] = {}
    for word, number in rows:
        sums[unit, word.decode()] = [sums.get((unit, word.decode()), [0])[0] + number]
    return sums


def pipeline(**changes: Any) -> Pipeline:
    usual: dict[str, Any] = {
        "name": "sample", "source": MemorySource(), "parse": parse, "check": check, "route": lambda row: "store",
        "encode": tuple, "sinks": {"store": MemorySink()}, "dead_letters": UnorderedMemorySink(),
        "fold": Fold(partials=partials, keys=("unit", "word"), fields=("sum",)), "options": Options()}
    return Pipeline(**{**usual, **changes})


LINES = ["a 1", "", "b 2", "c x", "a 200", "a 3"]
MANY = [f"w{number % 17} {number % 120}" for number in range(400)]


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("batch_bytes", [1, 7, 10_000])
def test_a_run_gives_what_was_written_rejected_folded_and_counted(fused: bool, batch_bytes: int) -> None:
    result = run_inline(pipeline(), LINES, fused=fused, batch_bytes=batch_bytes)
    assert result.written["store"] == [(b"a", 1), (b"b", 2), (b"a", 3)]
    assert result.stores == {"store": {b"a": 3, b"b": 2}}
    assert [(x.source, x.line, x.offset, x.reason, x.detail, x.raw) for x in result.dead_letters] == [
        ("lines", 4, 9, "number", "no digits", b"c x")]
    assert result.folded == {("lines", "a"): [4], ("lines", "b"): [2]}
    assert result.counts == {"read": 5, "filtered": 1, "written": 3, "written.store": 3, "dead_lettered": 1,
                             "rejected.number": 1}


def test_units_are_read_in_the_order_given_and_name_what_came_of_them() -> None:
    result = run_inline(pipeline(), {"second": b"a 1\n?\n", "first": b"a 2"})
    assert result.written["store"] == [(b"a", 1), (b"a", 2)]
    assert result.folded == {("second", "a"): [1], ("first", "a"): [2]}
    assert [letter.source for letter in result.dead_letters] == ["second"]


@pytest.mark.parametrize("fold", [
    lambda rows: {("records",): [len(rows)]},
    lambda rows, options: {("records",): [len(rows)]} if options.limit else {},
    lambda rows, unit: {("records",): [len(rows)]} if unit else {},
    lambda rows, options, unit: {("records",): [len(rows)]} if unit and options.limit else {}])
@pytest.mark.parametrize("is_fused", [True, False])
def test_partials_are_given_the_unit_and_the_options_where_they_have_parameters_of_these_names(
    fold: Any, is_fused: bool
) -> None:
    folding = pipeline(fold=Fold(partials=fold, keys=("what",), fields=("records",)))
    assert run_inline(folding, LINES, fused=is_fused).folded == {("records",): [3]}


def test_partials_that_need_what_nobody_gives_are_an_error_of_the_pipeline() -> None:
    folding = pipeline(fold=Fold(partials=lambda rows, number: {}, keys=("what",), fields=("records",)))
    with pytest.raises(ConfigError, match=r"fold\.partials: expected a function of \(values\) and, by name, options or "
                                          r"unit, got <lambda>\(rows, number\)"):
        run_inline(folding, LINES)


def test_options_stand_in_for_those_of_the_pipeline() -> None:
    assert run_inline(pipeline(), ["a 5"], options=Options(limit=5)).counts == {"read": 1, "filtered": 1}


def test_items_arrive_as_the_very_objects_that_encode_made() -> None:
    made: list[object] = []

    def encode(row: Any) -> object:
        made.append(object())
        return made[-1]

    result = run_inline(pipeline(encode=encode), ["a 1", "b 2"])
    assert result.written["store"] == made
    assert result.stores["store"] == {}


def test_a_replaced_sink_is_never_opened_and_rejects_what_it_cannot_pack() -> None:
    sinks = {"store": Memcached(server="127.0.0.1:1")}
    result = run_inline(pipeline(sinks=sinks, encode=lambda row: (row[0], b"%d" % row[1])), ["a 1", "b\x7f 2"])
    assert result.written["store"] == [(b"a", b"1")]
    assert [letter.raw for letter in result.dead_letters] == [b"b\x7f 2"]


def test_the_main_job_runs_inline_and_gives_what_its_processes_give() -> None:
    lines = list(make_lines(300, seed=4, bad_rate=0.05, keys=50))
    result = run_inline(appsinstalled.PIPELINE, lines, batch_bytes=2000)
    assert result.stores == expected_stores(lines)
    assert result.counts["read"] == 300


def test_the_same_arguments_make_the_same_run_and_a_seed_makes_another() -> None:
    seen: list[list[tuple[int, int]]] = []

    def run(seed: int) -> list[tuple[int, int]]:
        sizes: list[tuple[int, int]] = []

        @per_chunk
        def noted(rows: list[Any]) -> list[Any]:
            sizes.append((rows[0][1], len(rows)))
            return rows

        run_inline(pipeline(check=noted), MANY, faults=Faults(seed, kills=5, stops=3, delays=5, duplicates=0.1,
                                                              outages=0.2))
        seen.append(sizes)
        return sizes

    assert run(1) == run(1)
    assert run(2) != seen[0]


@pytest.mark.parametrize("seed", range(30))
def test_no_fault_changes_the_results(seed: int) -> None:
    expected = run_inline(pipeline(), MANY)
    faults = Faults(seed, kills=8, stops=4, delays=20, duplicates=0.1, outages=0.1)
    assert run_inline(pipeline(), MANY, fused=bool(seed % 2), faults=faults) == expected


def test_what_keeps_state_of_its_own_is_caught_by_kills() -> None:
    def counting() -> Callable[[Any], Any]:
        numbers = itertools.count()
        return lambda row: (row[0], next(numbers))

    expected = run_inline(pipeline(encode=counting()), MANY, workers=1)
    different = [run_inline(pipeline(encode=counting()), MANY, workers=1, faults=Faults(seed, kills=10)) != expected
                 for seed in range(5)]
    assert any(different)


def test_a_run_that_never_ends_says_who_waits_for_what(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actors.testing.world._PATIENCE_STEPS", 2000)
    with pytest.raises(AssertionError, match=r"stuck: nothing moved in 2,000 steps; Faults\(seed=1, .* alive .*reader"):
        run_inline(pipeline(), MANY, faults=Faults(1, outages=0.999))


def test_the_repr_is_for_reading() -> None:
    assert repr(run_inline(pipeline(), LINES)) == (
        "InlineResult: read 5: written 3, filtered 1, dead_lettered 1\n"
        "  store: [(b'a', 1), (b'b', 2), (b'a', 3)]\n"
        "  rejected: lines line 4: number: b'c x'\n"
        "  folded: ('lines', 'a'): [4]\n"
        "  folded: ('lines', 'b'): [2]")
    assert repr(run_inline(pipeline(), [])) == "InlineResult: read 0: nothing"


# Records ----------------------------------------------------------------------------------------------------------

STREAM = [Record(offset=3 * n + n // 4, value=None if n % 9 == 3 else b"w%d\n%d" % (n % 17, n % 120), key=b"k%d" % n)
          for n in range(200)]


def parse_record(value: bytes | None, record: Record) -> Any:
    """A word and a number in two lines; None: that key is gone."""
    if record.key == b"k7":
        raise Reject("seven", "it is")
    if value is None:
        return record.key, 0
    word, _, number = value.partition(b"\n")
    return word, int(number)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("batch_bytes", [1, 40, 10_000])
def test_records_come_to_parse_with_their_keys_and_are_rejected_as_they_came(fused: bool, batch_bytes: int) -> None:
    result = run_inline(pipeline(parse=parse_record), STREAM, fused=fused, batch_bytes=batch_bytes)
    assert result.written["store"] == [
        (record.key, 0) if record.value is None else (b"w%d" % (n % 17), n % 120)
        for n, record in enumerate(STREAM) if n != 7 and (record.value is None or n % 120 < 100)]
    (letter,) = result.dead_letters
    assert (letter.source, letter.position, letter.offset, letter.line) == ("records", 22, 22, -1)
    assert record_of(letter) == STREAM[7]
    assert result.counts["read"] == len(STREAM)
    assert "\n  rejected: records record 22: seven: b'w7\\n7'" in repr(result)


def test_units_of_lines_and_of_records_are_read_in_one_run() -> None:
    result = run_inline(pipeline(parse=lambda value: tuple(value.split())), {
        "a.log": b"a 1\nb 2\n", "topic": [Record(offset=5, value=b"c\n3")], "b.log": b"d 4\n"}, options=Options())
    assert result.counts["read"] == 4
    assert len(result.dead_letters) == 4, "check compares texts with numbers"
    assert [(letter.source, letter.raw) for letter in result.dead_letters] == [
        ("a.log", b"a 1"), ("a.log", b"b 2"), ("topic", b"c\n3"), ("b.log", b"d 4")]


@pytest.mark.parametrize("seed", range(15))
def test_no_fault_changes_the_results_of_records(seed: int) -> None:
    expected = run_inline(pipeline(parse=parse_record), STREAM)
    faults = Faults(seed, kills=8, stops=4, delays=20, duplicates=0.1, outages=0.1)
    assert run_inline(pipeline(parse=parse_record), STREAM, fused=bool(seed % 2), faults=faults) == expected


def test_a_source_of_records_in_memory_begins_each_chunk_where_the_last_one_ended() -> None:
    ledger = MemoryLedger()
    records = [Record(4, b"one"), Record(9, None), Record(10, b"three"), Record(40, b"four")]
    source = MemoryReading({"u": records}, ledger, lambda: 5)
    first = source.read()
    assert first is not None and (first.start, first.end, records_in(first.data)) == (0, 10, records[:2])
    ledger.issue(first)
    again = MemorySource(units={"u": records}).open(ledger.reopened(), 100, Path())
    chunks = [again.read(), again.read()]
    assert [(c.start, c.end, c.offset, records_in(c.data)) for c in chunks if c is not None] == [
        (0, 10, 0, records[:2]), (10, 41, 10, records[2:])]
    assert (again.read(), again.exhausted, again.progress()) == (None, True, (41, 41))


@pytest.mark.parametrize("offsets", [(1, 1), (2, 1), (-1, 0)])
def test_records_whose_places_do_not_grow_are_refused(offsets: tuple[int, int]) -> None:
    records = [Record(offset, b"x") for offset in offsets]
    with pytest.raises(ValueError, match="expected records in the order of their offsets, each greater than the one"):
        run_inline(pipeline(), records)
    with pytest.raises(ValueError, match="unit 'topic': expected records in the order"):
        MemorySource(units={"topic": records})


def test_a_unit_of_neither_bytes_nor_records_is_refused() -> None:
    unit: Any = [b"a 1", b"b 2"]
    with pytest.raises(TypeError, match=r"unit 'a\.log': expected bytes, or a list of records, got bytes among them"):
        run_inline(pipeline(), {"a.log": unit})


def test_lines_and_records_in_one_unit_are_refused() -> None:
    with pytest.raises(TypeError, match="expected lines or records, got 1 lines among 2 records"):
        run_inline(pipeline(), [*STREAM[:2], "a 1"])


@pytest.mark.parametrize(("lines", "kind", "text"), [
    ("a 1\nb 2", TypeError, "expected an iterable of lines, or a mapping of unit name to bytes, got one str"),
    (b"a 1", TypeError, "got one bytes: split it"),
    (["a 1", "b\n2"], ValueError, "expected no newline within line 2, got b'b\\n2'"),
])
def test_lines_in_another_form_are_named(lines: Any, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=re.escape(text)):
        run_inline(pipeline(), lines)


def test_faults_outside_their_range_are_named() -> None:
    with pytest.raises(ValueError, match=r"Faults\.kills: expected a number of 0 or more, got -1"):
        Faults(1, kills=-1)
    with pytest.raises(ValueError, match=r"Faults\.drops: expected a rate from 0 to below 1, got 2"):
        Faults(1, drops=2)
    with pytest.raises(ValueError, match="expected batch_bytes and workers of 1 or more, got 0 and 2"):
        run_inline(pipeline(), [], batch_bytes=0)


def test_a_clock_moves_only_when_it_is_told_to_and_never_back() -> None:
    clock = FakeClock(10.0, wall=100.0)
    assert (clock.advance(2.5), clock.monotonic(), clock.wall()) == (12.5, 12.5, 102.5)
    with pytest.raises(ValueError, match="time does not run backwards"):
        clock.advance(-1)
    assert repr(clock) == "FakeClock(monotonic=12.5, wall=102.5)"


def test_a_source_in_memory_cuts_recorded_ranges_again_and_others_behind_newlines() -> None:
    ledger = MemoryLedger()
    data = b"one\ntwo\nthree\nfour"
    first = MemoryReading({"u": data}, ledger, lambda: 8).read()
    assert first is not None and first.data == b"one\ntwo\n"
    ledger.issue(first)
    source = MemorySource(units={"u": data}).open(ledger.reopened(), 100, Path())
    chunks = [source.read(), source.read()]
    assert [(c.start, c.end, c.offset, c.line, c.data) for c in chunks if c is not None] == [
        (0, 8, 0, 1, b"one\ntwo\n"), (8, 18, 8, 3, b"three\nfour")]
    assert (source.read(), source.exhausted, source.progress()) == (None, True, (18, 18))


def test_a_store_in_memory_holds_each_range_once_and_the_last_value_of_each_key() -> None:
    store = MemoryStore(msgspec.msgpack.decode)

    def payload(start: int, *items: Any) -> Payload:
        return Payload("p", start, start + 1, len(items), msgspec.msgpack.encode(items))

    store.write([payload(0, ("a", 1)), payload(1, ("a", 2))])
    store.write([payload(0, ("a", 1)), payload(1, ("a", 2))])  # a new generation of its writer
    assert [tuple(item) for item in store.items] == [("a", 1), ("a", 2)]
    assert (store.values, len(store.log)) == ({"a": 2}, 4)
    store.write([payload(2, "no pair")])
    assert store.values == {}


def test_what_the_document_shows_runs_as_it_is_written_there(tmp_path: Path) -> None:
    blocks = dict(re.findall(r"<!-- test: (\w+\.py) -->\n```python\n(.*?)```",
                             (ROOT / "README.md").read_text() + (ROOT / "docs/testing.md").read_text(), re.DOTALL))
    assert {"words.py", "test_words.py", "test_refusals.py"} <= blocks.keys()
    for name, text in blocks.items():
        (tmp_path / name).write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_words.py", "test_refusals.py"],
        cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stdout + done.stderr
    assert "5 passed" in done.stdout
