"""One record, several outputs: what becomes of each, of the record, and of the one output that is sent again."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any, ClassVar

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.checker import Check, Destinations, checking
from actors.defaults import completed
from actors.parser import forwarding, fused
from actors.runtime.counts import merged
from actors.runtime.errors import ConfigError, Finish, Reject
from actors.runtime.framing import RECORDS, Record, pack_records
from actors.runtime.lift import lift
from actors.runtime.messages import Ack, Batch, BatchId, Part
from actors.runtime.outputs import Many, gaps_of, outputs_of, owners_in, places_in, positions_of
from actors.runtime.pipeline import Bulk, Fold, Pipeline, Windows, per_chunk
from actors.runtime.relay import Relay
from actors.runtime.rows import traveller, unpack_rows
from actors.runtime.sections import WindowOptions
from actors.runtime.sequencer import Sequencer
from actors.runtime.values import DeadLetter
from actors.runtime.worker import Made
from actors.sinks.lines import Lines
from actors.testing import MemorySource, assert_bulk_is_faithful, run_inline
from tests.several import PIPELINE, check, encode, parse, partials, route
from tests.unit.test_rows_and_check import BATCH, PLAIN, Letters, Texts, part

FOLD = Fold(partials=partials, keys=("letter",), fields=("records",))


class NoK(Texts, frozen=True):
    """A sink that cannot pack everything."""

    def pack(self, items: Any) -> bytes:
        if any(item.startswith("k") for item in items):
            raise ValueError("no k")
        return super().pack(items)


class Named(Texts, frozen=True):
    """A sink that names records."""

    names_records: ClassVar[bool] = True


def make(*lines: str, batch: Batch = BATCH, folds: bool = False, parses: Callable[..., Any] = parse,
         first: Texts = Texts()) -> Made:  # noqa: B008 - frozen
    """What a worker makes of these lines, in one process and in two."""
    pipeline = Pipeline(
        name="t", source=MemorySource(), parse=parses, check=check, route=route, encode=encode,
        sinks={"a": first, "b": NoK()}, dead_letters=Letters(), fold=FOLD if folds else None)
    checks = Check(pipeline, None, Destinations(
        {"a": "writer.a", "b": "writer.b"}, pipeline.sinks, "writer.dead_letters", Letters(),
        ["aggregator.1"] if folds else []))
    data = "\n".join([*lines, ""]).encode()
    made = fused(lift(parses, "parse"), checks)(batch, [data])
    forward = forwarding(lift(parses, "parse"))(batch, [data]).forward
    assert forward is not None
    assert checking(checks, PLAIN)(batch, forward) == made
    return made


def outcomes(made: Made) -> dict[str, int]:
    """What comes of a batch whose parts are all taken, without the reasons."""
    counts = merged([made.counts, *(each.claims for each in made.parts)])
    return {name: number for name, number in counts.items() if number and not name.startswith("rejected.")}


def letters(made: Made) -> list[tuple[bytes, str, str]]:
    if "writer.dead_letters" not in [each.destination for each in made.parts]:
        return []
    found = msgspec.msgpack.decode(part(made, "writer.dead_letters").frames[0], type=list[DeadLetter])
    return [(letter.raw, letter.output, letter.reason) for letter in found]


def items(made: Made, sink: str) -> list[bytes]:
    frames = part(made, f"writer.{sink}").frames
    return frames[0].split(b"|") if frames else []


def folded(made: Made) -> dict[str, int]:
    frames = part(made, "aggregator.1").frames
    return {key[0]: numbers[0] for key, numbers in msgspec.msgpack.decode(frames[0])} if frames else {}


# Many -------------------------------------------------------------------------------------------------------------


def test_many_holds_what_it_is_given_in_order() -> None:
    assert Many(number for number in range(3)).values == [0, 1, 2]
    assert (Many([1]), repr(Many([1, None]))) == (Many((1,)), "Many([1, None])")
    assert Many([1]) != Many([2])


@pytest.mark.parametrize("wrong", ["text", b"bytes", bytearray(b"x"), {"a": 1}])
def test_a_text_or_a_map_is_no_list_of_values(wrong: Any) -> None:
    with pytest.raises(TypeError, match="Many: expected a list of values, got one"):
        Many(wrong)


def test_many_among_many_are_refused() -> None:
    with pytest.raises(TypeError, match="make one list of all"):
        Many([1, Many([2])])


# What becomes of them ---------------------------------------------------------------------------------------------


def test_each_value_goes_where_it_belongs_and_the_record_counts_once() -> None:
    made = make("many a1 b2 a3", "one a4")
    assert (items(made, "a"), items(made, "b")) == ([b"a1", b"a3", b"a4"], [b"b2"])
    assert outcomes(made) == {"read": 2, "written": 2, "written.a": 3, "written.b": 1, "many": 1, "made": 3}


def test_a_value_that_goes_to_several_sinks_is_in_each_and_counts_once() -> None:
    made = make("one c1", "one a2")
    assert (items(made, "a"), items(made, "b")) == ([b"c1", b"a2"], [b"c1"])
    assert outcomes(made) == {"read": 2, "written": 2, "written.a": 2, "written.b": 1, "many": 1, "made": 2}


@pytest.mark.parametrize("lines", [
    ("one a1", "one b2", "one a3"), ("one a1", "one r2", "one a3"), ("many a1 b2 a3", "one d4", "one a5", "one c6"),
    ("one a1", "many a2 r3 k4 a5", "one k6", "one a7")])
def test_a_sink_that_names_records_is_told_where_the_record_of_each_item_is(lines: Sequence[str]) -> None:
    made = make(*lines, first=Named())
    places = {item: BATCH.start + sum(len(before) + 1 for before in lines[:number])
              for number, line in enumerate(lines) for item in line.encode().split()[1:]}
    assert places_in(part(made, "writer.a").frames) == tuple(places[item] for item in items(made, "a"))
    assert places_in(part(made, "writer.b").frames) == (), "the other is told nothing"
    assert owners_in(part(made, "writer.a").frames) == owners_in(part(make(*lines), "writer.a").frames)


@pytest.mark.parametrize(("line", "outcome"), [
    ("many", "filtered"), ("many - -", "filtered"), ("many d1 d2", "filtered"), ("many d1 a2", "written"),
    ("many n1 d2", "folded"), ("many n1 a2", "written"), ("one e1", "folded"), ("many a1 r2", "dead_lettered"),
    ("many n1 j2 d3 c4", "dead_lettered"), ("many r1 r2 r3", "dead_lettered"), ("many k1", "dead_lettered")])
def test_a_record_is_the_worst_of_what_its_outputs_are(line: str, outcome: str) -> None:
    counts = outcomes(make(line, folds=True))
    assert {name: counts.get(name, 0) for name in ("read", "written", "folded", "filtered", "dead_lettered")} == {
        **dict.fromkeys(("written", "folded", "filtered", "dead_lettered"), 0), "read": 1, outcome: 1}
    expected = "filtered" if outcome == "folded" else outcome
    assert outcomes(make(line))[expected] == 1


def test_nothing_at_all_is_no_record_as_ever() -> None:
    assert outcomes(make("", "many a1", "")) == {"read": 1, "written": 1, "written.a": 1, "many": 1, "made": 1}


def test_each_rejected_output_is_a_letter_that_says_which_one_it_is() -> None:
    made = make("one a1", "many r1 a2 j3 p4 q5 t6", "whole", "many k7", "one k8")
    assert letters(made) == [
        (b"many r1 a2 j3 p4 q5 t6", "0", "check"), (b"many r1 a2 j3 p4 q5 t6", "2", "in_list"),
        (b"many r1 a2 j3 p4 q5 t6", "3", "encode_error"), (b"many r1 a2 j3 p4 q5 t6", "4", "route"),
        (b"many r1 a2 j3 p4 q5 t6", "5", "route"), (b"whole", "", "whole"), (b"many k7", "0/b", "encode_error"),
        (b"one k8", "/b", "encode_error")]
    assert outcomes(made)["dead_lettered"] == 4
    assert sum(number for name, number in part(made, "writer.dead_letters").claims.items()
               if name.startswith("rejected.")) == 8
    assert items(made, "a") == [b"a1", b"a2", b"k7", b"k8"]


def test_items_say_whose_they_are_by_position_and_output_and_those_of_records_with_one_do_not() -> None:
    made = make("one a1", "many a2 b3", "one c4")
    frames = part(made, "writer.a").frames
    assert owners_in(frames) == {0: (1000, ""), 1: (1007, "0"), 2: (1018, "/a")}
    assert owners_in(part(made, "writer.b").frames) == {0: (1007, "1"), 1: (1018, "/b")}
    assert part(make("one a1", "one a2", "whole"), "writer.a").frames == [b"a1|a2"]


def test_items_of_records_that_are_no_lines_have_their_positions() -> None:
    batch = msgspec.structs.replace(BATCH, framing=RECORDS)
    data = pack_records([Record(100, b"one a1"), Record(107, b"many a2")])
    pipeline = msgspec.structs.replace(PIPELINE, sinks={"a": Texts(), "b": NoK()}, dead_letters=Letters(), fold=None)
    checks = Check(pipeline, None, Destinations(
        {"a": "writer.a", "b": "writer.b"}, pipeline.sinks, "writer.dead_letters", Letters(), []))
    made = fused(lift(parse, "parse"), checks)(batch, [data])
    assert owners_in(part(made, "writer.a").frames) == {0: (1000, ""), 1: (1007, "0")}


def test_positions_are_right_in_every_slice_of_a_long_batch() -> None:
    lines = [f"many a{number}" if number % 900 == 0 else f"one a{number}" for number in range(20_000)]
    data = "\n".join([*lines, ""]).encode()
    (frames,) = [each.frames for each in make(*lines).parts if each.destination == "writer.a"]
    owners = owners_in(frames)
    assert 0 < len(owners) <= len(lines)
    for item, (position, _) in owners.items():
        assert data[position - BATCH.start:].startswith(lines[item].encode() + b"\n")
    assert {item for item, (_, output) in owners.items() if output} == set(range(0, 20_000, 900))


def test_an_end_among_the_values_is_filtered_and_said_apart() -> None:
    def ends(line: bytes) -> Any:
        return Many([Finish() if token == "end" else token for token in line.decode().split()])

    made = make("end", "a1 end", "a2", parses=ends)
    assert made.counts == {"read": 3, "written": 2, "filtered": 1, "finish": 2, "many": 3, "made": 4}
    assert items(made, "a") == [b"a1", b"a2"]


# What is folded ---------------------------------------------------------------------------------------------------


def test_each_value_is_folded_once_and_what_a_function_rejects_is_not() -> None:
    assert folded(make("many a1 a2 r3 n4 p5", "one c6", "many q7 t8 d9", folds=True)) == {"a": 2, "n": 1, "c": 1}


def test_a_value_that_one_of_its_sinks_cannot_take_is_folded_once() -> None:
    made = make("many k1", folds=True)
    assert (folded(made), items(made, "a"), [output for _, output, _ in letters(made)]) == ({"k": 1}, [b"k1"], ["0/b"])


def test_values_have_event_times_of_their_own_and_may_be_late_for_themselves() -> None:
    by_time = Pipeline(
        source=MemorySource(), parse=lambda line: Many([int(word) for word in line.split()]), sinks={"rows": Lines()},
        fold=Fold(partials=lambda values: {("all",): [len(values)]}, keys=("what",), fields=("number",)),
        windows=Windows(time=lambda value: value * 1000, emit=lambda window, groups: [
            ("rows", b"%d %d" % (window.start, groups[0][1][0]))]),
        window=WindowOptions(kind="tumbling", size_s=10), emit_sinks=("rows",))
    result = run_inline(by_time, ["1 2 11", "12 3 25", "31"], batch_bytes=1000)
    assert result.written["rows"] == [b"0 2", b"10000 2", b"20000 1", b"30000 1"]
    assert [(letter.line, letter.output, letter.reason) for letter in result.dead_letters] == [(2, "1", "late")]
    assert {name: result.counts[name] for name in ("read", "folded", "dead_lettered")} == {
        "read": 3, "folded": 2, "dead_lettered": 1}


# One output that is sent again ------------------------------------------------------------------------------------


def again(line: str, only: str, folds: bool = True) -> Made:
    return make(line, batch=msgspec.structs.replace(BATCH, only=only), folds=folds)


@pytest.mark.parametrize(("line", "only", "sinks", "is_folded"), [
    ("many a1 b2 c3", "1", ([], [b"b2"]), True), ("many a1 b2 c3", "2", ([b"c3"], [b"c3"]), True),
    ("many a1 b2 c3", "2/b", ([], [b"c3"]), False), ("one c1", "/a", ([b"c1"], []), False),
    ("one a1", "", ([b"a1"], []), True), ("many a1 b2", "1/b", ([], [b"b2"]), False)])
def test_only_the_output_that_is_wanted_is_made(
    line: str, only: str, sinks: tuple[list[bytes], list[bytes]], is_folded: bool
) -> None:
    made = again(line, only)
    assert (items(made, "a"), items(made, "b")) == sinks
    assert bool(folded(made)) == is_folded
    counts = outcomes(made)
    assert (counts["read"], counts["written"], counts.get("folded", 0)) == (1, 1, 0)


@pytest.mark.parametrize(("line", "only"), [
    ("many a1", "1"), ("one a1", "0"), ("many a1", "0/b"), ("one n1", "/a"), ("many a1", "/a"), ("many", "0")])
def test_an_output_that_is_not_made_any_more_stays_a_letter_with_its_name(line: str, only: str) -> None:
    made = again(line, only)
    assert letters(made) == [(line.encode(), only, "no_output")]
    assert outcomes(made)["dead_lettered"] == outcomes(made)["read"] == 1
    assert (items(made, "a"), items(made, "b")) == ([], [])


@pytest.mark.parametrize("line", ["whole", "many r1", "many k1"])
def test_an_output_that_is_rejected_again_keeps_its_name(line: str) -> None:
    ((_, output, _),) = letters(again(line, "0/b"))
    assert output == "0/b"


# What is not meant ------------------------------------------------------------------------------------------------


def by_one(value: Any) -> Any:
    yield value


@pytest.mark.parametrize("is_fused", [True, False])
@pytest.mark.parametrize(("part_of", "function", "sentence"), [
    ("parse", lambda line: (x for x in line), "parse returned a generator: for several values of one record, "
     "return Many([...])"),
    ("check", lambda value: (x for x in value), "check returned a generator: return one value; for several values of "
     "one record, return Many([...]) from parse"),
    ("check", lambda value: Many([value]), "check returned Many: only parse may return Many([...]); check returns one "
     "value for each"),
    ("route", lambda value: (x for x in "ab"), "route returned a generator: for several sinks, return a tuple of their "
     "names"),
    ("route", lambda value: Many(["out"]), "route returned Many: only parse may return Many([...]); route returns a "
     "tuple of names for several sinks"),
    ("route", lambda value: ["out"], "no sink is called ['out']: route returned a list; for several sinks return a "
     "tuple of their names"),
])
def test_what_is_no_value_is_a_letter_that_says_what_to_return(
    is_fused: bool, part_of: str, function: Any, sentence: str
) -> None:
    functions: dict[str, Any] = {"parse": bytes.upper, "route": lambda value: "out", part_of: function}
    one = Pipeline(source=MemorySource(), sinks={"out": Lines()}, **functions)
    result = run_inline(one, ["x"], fused=is_fused)
    assert [letter.detail for letter in result.dead_letters] == [sentence]
    assert result.counts["dead_lettered"] == result.counts["read"] == 1


def test_a_list_that_its_sink_cannot_take_may_be_meant_as_several_values() -> None:
    listing = Pipeline(source=MemorySource(), parse=bytes.split, sinks={"out": Lines()})
    (letter,) = run_inline(listing, ["a b"]).dead_letters
    assert "of type list (if it is meant as several values, return Many([...]) from parse): " in letter.detail


@pytest.mark.parametrize(("part_of", "sentence"), [
    ("parse", "return it, or return Many([...]) for several values of one record"),
    ("route", "return it, or return a tuple of names for several sinks")])
def test_a_generator_function_is_refused_before_anything_starts(part_of: str, sentence: str) -> None:
    functions: dict[str, Any] = {"parse": bytes.upper, part_of: by_one}
    with pytest.raises(ConfigError, match="got a generator") as error:
        completed(Pipeline(source=MemorySource(), sinks={"out": Lines()}, **functions), "x")
    assert str(error.value).endswith(sentence)


def test_what_is_said_to_return_a_generator_or_as_a_route_a_list_is_refused_before_anything_starts() -> None:
    def yielding(line: bytes) -> Generator[bytes, None, None]:
        return (line for _ in range(2))

    def listing(value: bytes) -> list[str]:
        return ["out"]

    @per_chunk
    def routes(values: list[bytes]) -> list[str]:
        return ["out" for _ in values]

    plain: dict[str, Any] = {"source": MemorySource(), "sinks": {"out": Lines()}}
    with pytest.raises(ConfigError, match=r"said to return a generator: return it, or return Many\(\[\.\.\.\]\)"):
        completed(Pipeline(parse=yielding, **plain), "x")
    with pytest.raises(ConfigError, match="said to return a list: return it, or return a tuple of names"):
        completed(Pipeline(parse=bytes.upper, route=listing, **plain), "x")
    completed(Pipeline(parse=listing, route=routes, **plain), "x")


def test_an_application_with_many_and_bulk_is_as_one_without_if_bulk_leaves_those_to_the_functions() -> None:
    def bulk(data: bytes) -> Bulk | None:
        lines = [line.split()[1].decode() for line in data.splitlines() if line.startswith(b"one a")]
        return Bulk(read=len(lines), items={"a": lines}, partials=partials(lines)) if (
            len(lines) == len(data.splitlines())) else None

    lines = ["one a1", "one a2", "many a3 b4!b", "one a5", "one c6!ab"]
    plain = run_inline(PIPELINE, lines, batch_bytes=7)
    quick = run_inline(msgspec.structs.replace(PIPELINE, bulk=bulk), lines, batch_bytes=7)
    assert (quick.written, quick.folded, quick.counts) == (plain.written, plain.folded, plain.counts)
    assert plain.counts["dead_lettered"] == 2
    greedy = msgspec.structs.replace(PIPELINE, bulk=lambda data: Bulk(read=1, items={"a": ["a3"]}))
    with pytest.raises(AssertionError, match="parse makes several outputs of b'many a3 b4': return None for it"):
        assert_bulk_is_faithful(greedy, b"many a3 b4")


# Between two processes --------------------------------------------------------------------------------------------


class Point(msgspec.Struct, frozen=True):
    """What an application may make of a line."""

    name: str
    pair: tuple[int, int]


P, Q = Point("a", (1, 2)), Point("b", (3, 4))


@pytest.mark.parametrize(("value", "kind"), [
    (Many([P, Q]), Many[Point]), (Many([P, None]), Many[Point] | None), (Many([]), Many[Point]),
    (P, Point | Many[Point]), (Many([("a", 1)]), Many[tuple[str, int]] | Reject),
    (Many([["a", 1]]), Many), (Many([1, 2]), Many[int] | int),
    (Many([P]), Many[Point | Reject]),
], ids=str)
@pytest.mark.parametrize("chunk", [False, True])
def test_values_of_a_record_are_the_same_to_check_whether_they_travelled_or_not(
    value: Any, kind: Any, chunk: bool
) -> None:
    def each(line: bytes) -> Any:
        return value

    def some(lines: list[bytes]) -> Any:
        return [value for _ in lines]

    function = per_chunk(some) if chunk else each
    function.__annotations__["return"] = list[kind] if chunk else kind
    forward = forwarding(lift(function, "parse"))(BATCH, [b"x\ny\n"]).forward
    assert forward is not None
    assert unpack_rows(BATCH, forward, traveller(function)).values == [value, value]


def test_a_value_that_cannot_travel_or_is_of_another_type_is_rejected_alone() -> None:
    def parses(line: bytes) -> Many[int]:
        return Many([1, object(), "text", (x for x in "ab"), Reject("mine"), 2])  # type: ignore[list-item]

    forward = forwarding(lift(parses, "parse"))(BATCH, [b"x\n"]).forward
    assert forward is not None
    ((first, *wrong, last),) = [each.values for each in unpack_rows(BATCH, forward, traveller(parses)).values]
    assert (first, last) == (1, 2)
    assert [each.reason for each in wrong] == ["parse_error", "parse_error", "parse_error", "mine"]
    assert "parse returned a generator" in wrong[2].detail


def test_rows_without_many_travel_as_before() -> None:
    (_, packed) = forwarding(lift(lambda line: line.decode(), "parse"))(BATCH, [b"x\ny\n"]).forward or []
    assert msgspec.msgpack.decode(packed) == ["parser", ["x", "y"], [], []]


# Who counts -------------------------------------------------------------------------------------------------------

KEY: BatchId = ("p", 1000, 2000)
A, B = "writer.a#1", "writer.b#1"


def test_a_record_that_two_sinks_have_refused_counts_once() -> None:
    relay = Relay()
    relay.sent("reader.1#1", KEY, 1, [A, B], {"read": 3, "written": 3, "many": 3})
    assert relay.ack(A, Ack(*KEY, 1, {"written.a": 1}, gaps_of([1000, 1020], 1000, 2000))) == []
    ((_, answer),) = relay.ack(B, Ack(*KEY, 1, {"written.b": 2}, gaps_of([1020], 1000, 2000)))
    assert answer.counts == {"read": 3, "written": 1, "dead_lettered": 2, "many": 3, "written.a": 1, "written.b": 2}
    assert answer.failed == ()


def test_a_record_that_is_rejected_before_is_not_counted_again_by_a_sink() -> None:
    relay = Relay()
    relay.sent("reader.1#1", KEY, 1, [A], {"read": 2, "written": 1, "dead_lettered": 1}, dead=[1020])
    ((_, answer),) = relay.ack(A, Ack(*KEY, 1, {}, gaps_of([1000, 1020], 1000, 2000)))
    assert answer.counts == {"read": 2, "written": 0, "dead_lettered": 2}


def test_halves_of_a_part_that_was_applied_whole_are_answered_with_what_lies_in_them() -> None:
    sequencer = Sequencer()
    whole = Part(*KEY, 1, 1000, 3, {"written": 1, "written.a": 3})
    sequencer.offer("parser.1#1", whole, [b"", b""])
    (held,) = sequencer.ready()
    sequencer.durable(held, {"written": 1, "written.a": 1}, [1010, 1700])
    first, second = (sequencer.offer("parser.2#1", Part("p", start, end, 2, 1000, 1, claims), [b""])
                     for start, end, claims in ((1000, 1500, {"written": 1, "written.a": 2}),
                                                (1500, 2000, {"written.a": 1})))
    assert first is not None
    assert second is not None
    assert (positions_of(first.failed, 1000), positions_of(second.failed, 1500)) == ([1010], [1700])
    assert merged([first.counts, second.counts]) == {"written": 1, "written.a": 1}


@given(st.sets(st.integers(0, 2000)), st.integers(0, 1000), st.integers(1000, 2000))
def test_positions_travel_as_gaps_and_only_those_of_the_range(positions: set[int], start: int, end: int) -> None:
    gaps = gaps_of(positions, start, end)
    assert positions_of(gaps, start) == sorted(at for at in positions if start <= at < end)
    assert all(gap >= 0 for gap in gaps)


def test_outputs_of_one_value_each_have_no_names() -> None:
    outputs = outputs_of(["a", None, Reject("x")])
    assert [outputs.name(number) for number in range(3)] == ["", "", ""]
    assert (outputs.records, outputs.several, outputs.made) == ({0, 2}, set(), 0)
