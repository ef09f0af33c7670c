"""Source order at a keyed consumer: what is applied next, what is a repetition, who is answered when."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.runtime import sequencer as sequencers
from actors.runtime.counts import Counts
from actors.runtime.messages import Ack, Part
from actors.runtime.positions import Positions
from actors.runtime.sequencer import Held, Sequencer

A, B = "parser.1#1", "parser.2#1"


def part(start: int, end: int, low: int = 0, epoch: int = 1, claims: Counts | None = None, name: str = "p") -> Part:
    return Part(name, start, end, epoch, low, 1, {"written": 1} if claims is None else claims)


def ack(start: int, end: int, counts: Counts | None = None, epoch: int = 1) -> Ack:
    return Ack("p", start, end, epoch, {"written": 1} if counts is None else counts)


def starts(held: list[Held]) -> list[int]:
    return [each.part.start for each in held]


def apply(sequencer: Sequencer) -> list[Held]:
    """Everything ready is applied and durable."""
    held = sequencer.ready()
    for each in held:
        sequencer.durable(each)
    return held


def test_parts_are_applied_in_source_order_whatever_the_order_they_come_in() -> None:
    sequencer = Sequencer()
    for start in (20, 10):
        assert sequencer.offer(A, part(start, start + 10), [b""]) is None
        assert sequencer.ready() == []
    sequencer.offer(A, part(0, 10), [b""])
    assert starts(sequencer.ready()) == [0, 10, 20]
    assert sequencer.positions() == {"p": 30}


def test_a_part_is_acknowledged_when_it_is_durable_and_not_before() -> None:
    sequencer = Sequencer()
    assert sequencer.offer(A, part(0, 10), [b"x"]) is None
    (held,) = sequencer.ready()
    assert len(sequencer) == 1
    assert sequencer.durable(held) == [(A, ack(0, 10))]
    assert len(sequencer) == 0


def test_the_payload_is_kept_until_it_is_durable_and_then_let_go() -> None:
    sequencer = Sequencer()
    sequencer.offer(A, part(0, 10), [b"x"])
    (held,) = sequencer.ready()
    assert held.frames == [b"x"]
    sequencer.durable(held)
    assert not held.frames


def test_a_repetition_of_what_waits_is_applied_once_and_both_senders_are_answered() -> None:
    sequencer = Sequencer()
    sequencer.offer(A, part(0, 10), [b"x"])
    sequencer.offer(B, part(0, 10), [b"x"])
    (held,) = sequencer.ready()
    assert sorted(sequencer.durable(held)) == [(A, ack(0, 10)), (B, ack(0, 10))]


def test_a_repetition_of_what_is_applied_is_answered_only_when_that_is_durable() -> None:
    sequencer = Sequencer()
    sequencer.offer(A, part(0, 10), [b"x"])
    (held,) = sequencer.ready()
    assert sequencer.offer(B, part(0, 10), [b"x"]) is None
    assert sequencer.ready() == []
    assert sorted(sequencer.durable(held)) == [(A, ack(0, 10)), (B, ack(0, 10))]


def test_a_repetition_of_what_is_durable_is_answered_at_once_and_not_applied() -> None:
    sequencer = Sequencer()
    sequencer.offer(A, part(0, 10), [b"x"])
    apply(sequencer)
    assert sequencer.offer(B, part(0, 10, epoch=2), [b"x"]) == ack(0, 10, epoch=2)
    assert sequencer.ready() == []


def test_a_sender_that_repeats_a_part_is_answered_once_for_each_epoch() -> None:
    sequencer = Sequencer()
    for epoch in (1, 1, 2):
        sequencer.offer(A, part(0, 10, epoch=epoch), [b"x"])
    (held,) = sequencer.ready()
    assert sorted(answer.epoch for _, answer in sequencer.durable(held)) == [1, 2]


def test_counts_given_at_the_end_take_the_place_of_the_claims_also_for_repetitions() -> None:
    sequencer = Sequencer()
    sequencer.offer(A, part(0, 10), [b"x"])
    (held,) = sequencer.ready()
    outcome = {"written": 0, "dead_lettered": 1}
    assert sequencer.durable(held, outcome) == [(A, ack(0, 10, outcome))]
    assert sequencer.offer(B, part(0, 10), [b"x"]) == ack(0, 10, outcome)


def test_a_new_consumer_begins_at_the_low_position_of_the_first_part_it_sees() -> None:
    sequencer = Sequencer()
    sequencer.offer(A, part(110, 120, low=100), [b""])
    assert sequencer.ready() == []
    sequencer.offer(A, part(100, 110, low=100), [b""])
    assert starts(sequencer.ready()) == [100, 110]


def test_a_new_consumer_learns_a_later_low_position_from_a_later_part() -> None:
    sequencer = Sequencer()
    sequencer.offer(A, part(10, 20, low=0), [b""])
    sequencer.offer(A, part(20, 30, low=20), [b""])
    assert starts(sequencer.ready()) == [20]


def test_a_low_position_in_the_middle_of_what_waits_drops_what_lies_below() -> None:
    sequencer = Sequencer()
    for start in (10, 20, 30):
        sequencer.offer(A, part(start, start + 10, low=0), [b""])
    sequencer.offer(A, part(40, 50, low=30), [b""])
    assert starts(apply(sequencer)) == [30, 40]
    assert len(sequencer) == 0


def test_a_part_below_everything_known_is_acknowledged_with_its_own_claims() -> None:
    sequencer = Sequencer()
    sequencer.offer(A, part(100, 110, low=100), [b""])
    assert sequencer.offer(A, part(50, 60, low=50), [b""]) == ack(50, 60)


def test_an_old_low_position_never_moves_a_consumer_back() -> None:
    sequencer = Sequencer()
    sequencer.offer(A, part(100, 110, low=100), [b""])
    apply(sequencer)
    sequencer.offer(A, part(110, 120, low=0), [b""])
    assert starts(sequencer.ready()) == [110]
    assert sequencer.positions() == {"p": 120}


def test_a_consumer_with_durable_state_goes_on_where_it_was() -> None:
    sequencer = Sequencer({"p": 20})
    assert sequencer.offer(A, part(0, 10), [b""]) == ack(0, 10)
    assert sequencer.offer(A, part(10, 20), [b""]) == ack(10, 20)
    assert sequencer.offer(A, part(20, 30), [b""]) is None
    assert starts(sequencer.ready()) == [20]


def test_partitions_do_not_wait_for_one_another() -> None:
    sequencer = Sequencer()
    sequencer.offer(A, part(10, 20), [b""])
    sequencer.offer(A, part(0, 10, name="q"), [b""])
    assert [held.part.partition for held in sequencer.ready()] == ["q"]
    assert sequencer.positions() == {"p": 0, "q": 10}


def test_an_empty_input_has_no_positions() -> None:
    assert Sequencer().positions() == {}
    assert Sequencer().ready() == []
    assert len(Sequencer()) == 0


def test_the_halves_of_a_split_batch_take_the_place_of_the_whole() -> None:
    sequencer = Sequencer()
    sequencer.offer(A, part(10, 30), [b"whole"])
    sequencer.offer(A, part(10, 20), [b"first"])
    sequencer.offer(A, part(20, 30), [b"second"])
    sequencer.offer(A, part(0, 10), [b""])
    assert [held.frames for held in sequencer.ready()] == [[b""], [b"first"], [b"second"]]


def test_the_whole_of_a_split_batch_that_comes_late_is_dropped_and_its_sender_may_forget_it() -> None:
    sequencer = Sequencer()
    sequencer.offer(A, part(0, 10), [b""])
    sequencer.offer(A, part(10, 20), [b""])
    sequencer.offer(A, part(0, 10), [b""])
    (first, _) = sequencer.ready()
    sequencer.durable(first)
    assert sequencer.offer(B, part(10, 30), [b""]) == Ack("p", 10, 30, 1, {})
    assert sequencer.ready() == []
    assert sequencer.positions() == {"p": 20}


def test_a_half_of_what_is_applied_as_a_whole_is_answered_with_it() -> None:
    sequencer = Sequencer()
    sequencer.offer(A, part(0, 20, claims={"written": 2}), [b""])
    (held,) = sequencer.ready()
    assert sequencer.offer(B, part(0, 10, claims={"written": 1}), [b""]) is None
    assert sorted(sequencer.durable(held)) == [(A, ack(0, 20, {"written": 2})), (B, ack(0, 10, {"written": 1}))]


def test_a_half_that_came_before_the_whole_was_applied_is_answered_with_it() -> None:
    sequencer = Sequencer()
    sequencer.offer(A, part(10, 30), [b"whole"])
    sequencer.offer(B, part(20, 30), [b"half"])
    sequencer.offer(A, part(0, 10), [b""])
    first, whole = sequencer.ready()
    sequencer.durable(first)
    assert sequencer.durable(whole) == [(A, ack(10, 30)), (B, ack(20, 30))]
    assert sequencer.offer(B, part(10, 20), [b"half"]) == ack(10, 20)
    assert len(sequencer) == 0


def test_what_was_refused_of_a_whole_is_counted_once_when_its_halves_are_repetitions() -> None:
    sequencer = Sequencer()
    sequencer.offer(A, part(0, 40, claims={"written": 4}), [b"whole"])
    (held,) = sequencer.ready()
    sequencer.offer(B, part(0, 20, claims={"written": 2}), [b"half"])  # before it is known
    answers = sequencer.durable(held, {"written": 3, "dead_lettered": 1})
    assert answers[1:] == [(B, ack(0, 20, {"written": 1, "dead_lettered": 1}))]
    assert sequencer.offer(A, part(0, 20, claims={"written": 2}), [b""]) == ack(
        0, 20, {"written": 1, "dead_lettered": 1})
    assert sequencer.offer(B, part(20, 40, claims={"written": 2}), [b""]) == ack(20, 40, {"written": 2})


def test_outcomes_below_the_low_position_are_forgotten() -> None:
    sequencer = Sequencer()
    sequencer.offer(A, part(0, 10), [b""])
    (held,) = sequencer.ready()
    sequencer.durable(held, {"written": 0})
    sequencer.offer(A, part(10, 20, low=10), [b""])
    assert sequencer.offer(A, part(0, 10), [b""]) == ack(0, 10), "its own claims: nobody counts it any more"


def test_memory_is_bounded_by_the_window_however_long_the_input() -> None:
    sequencer = Sequencer()
    for start in range(0, 10_000, 10):
        sequencer.offer(A, part(start, start + 10, low=max(0, start - 50)), [b""])
        apply(sequencer)
    assert len(sequencer) == 0
    assert len(sequencer._partitions["p"].done) <= 6


def test_a_partition_that_is_over_costs_nothing_more() -> None:
    sequencer = Sequencer({f"run/{number}": 5 for number in range(1000)})
    part = Part("run/1", 5, 6, 0, 5, 1, {}, "")
    sequencer.offer("checker.1#1", part, [])
    (held,) = sequencer.ready()
    assert sequencer.positions() == {"run/1": 6}
    sequencer.durable(held)
    assert sequencer.ready() == []
    assert sequencer.positions() == {}
    assert sequencer.offer("checker.1#1", part, []) is not None  # a repetition still


def test_how_long_the_oldest_part_has_waited_is_known_whether_it_can_be_applied_or_not() -> None:
    sequencer = Sequencer()
    assert sequencer.since() == 0.0
    sequencer.offer(A, part(20, 30), [b""], 5.0)
    sequencer.offer(A, part(10, 20), [b""], 6.0)
    sequencer.offer(A, part(0, 10, name="q"), [b""], 7.0)
    assert sequencer.since() == 5.0
    (other,) = sequencer.ready()
    sequencer.offer(A, part(0, 10), [b""], 8.0)
    first, second, third = sequencer.ready()
    assert sequencer.since() == 7.0
    sequencer.durable(other)
    sequencer.durable(first)
    assert sequencer.since() == 6.0
    sequencer.durable(second)
    sequencer.durable(third)
    assert sequencer.since() == 0.0


def file_part(number: int, start: int = 0, end: int = 10, low: int = 0, claims: Counts | None = None) -> Part:
    return part(start, end, low, claims=claims, name=f"run/{number}")


def test_of_very_many_files_only_positions_are_kept_and_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sequencers, "MOST_DONE", 50)
    sequencer = Sequencer()
    for number in range(2000):
        sequencer.offer(A, file_part(number), [b""])
        assert starts(apply(sequencer)) == [0]
    assert sequencer.ready() == []
    assert (len(sequencer._partitions), len(sequencer._busy)) == (50, 0)
    for number in (0, 7, 1999):
        again = sequencer.offer(B, file_part(number), [b""])
        assert again == Ack(f"run/{number}", 0, 10, 1, {"written": 1}), "it is a repetition, whenever it comes"
        sequencer.offer(B, file_part(number, 10, 20, low=10), [b""])
        assert starts(apply(sequencer)) == [10], "and the file goes on"
        assert sequencer.offer(B, file_part(number), [b""]) is not None
    assert sequencer.ready() == []
    assert len(sequencer._partitions) <= 53


def test_what_a_sink_has_refused_is_remembered_of_any_number_of_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sequencers, "MOST_DONE", 5)
    sequencer = Sequencer()
    for number in range(100):
        sequencer.offer(A, file_part(number), [b""])
        (held,) = sequencer.ready()
        sequencer.durable(held, {"written": 0, "dead_lettered": 1} if number == 3 else None)
    answer = sequencer.offer(B, file_part(3), [b""])
    assert answer is not None
    assert answer.counts == {"written": 0, "dead_lettered": 1}


def test_a_file_that_was_at_rest_does_not_go_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sequencers, "MOST_DONE", 0)
    sequencer = Sequencer()
    sequencer.offer(A, file_part(1), [b""])
    apply(sequencer)
    assert sequencer.offer(B, file_part(1), [b""]) is not None, "before the next call of ready"
    sequencer.offer(A, file_part(1, 10, 20), [b""])
    assert starts(apply(sequencer)) == [10]
    assert sequencer.offer(B, file_part(1, 0, 10), [b""]) is not None
    assert sequencer.offer(B, file_part(1, 10, 20), [b""]) is not None
    assert sequencer.ready() == []


@given(st.dictionaries(st.one_of(
    st.builds("run/{}".format, st.integers(0, 200)),
    st.sampled_from(["run", "run/", "run/01", "run/-1", "a/b/3", "/7"]),
    st.builds("other/{}".format, st.integers(0, 10**12))), st.integers(0, 2**62)))
def test_positions_are_those_that_were_put_whatever_partitions_are_called(some: dict[str, int]) -> None:
    positions = Positions()
    for name, position in some.items():
        positions.put(name, 1)
        positions.put(name, position)
    assert {name: positions.get(name) for name in some} == some
    assert positions.get("run/201") is positions.get("nobody") is positions.get("other/-1") is None
