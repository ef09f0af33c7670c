"""Who lives and who is dead, as one actor knows it."""

from __future__ import annotations

from actors.runtime.membership import Membership
from actors.runtime.messages import Member, Roster


def member(name: str, generation: int) -> Member:
    return Member(name, generation, "parser", "", False)


def test_what_the_dead_had_said_is_void_even_when_it_is_read_after_the_roster() -> None:
    membership = Membership()
    membership.meet(Roster(1, (member("parser.1", 1), member("parser.2", 1))))
    assert not membership.is_dead("parser.1#1")
    assert membership.meet(Roster(2, (member("parser.2", 1),))) == ([], [member("parser.1", 1)])
    assert membership.is_dead("parser.1#1")
    assert not membership.is_dead("parser.2#1")


def test_a_new_generation_makes_all_older_ones_dead_also_those_never_seen() -> None:
    membership = Membership()
    assert membership.meet(Roster(1, (member("parser.1", 3),))) == ([member("parser.1", 3)], [])
    assert membership.is_dead("parser.1#1")
    assert membership.is_dead("parser.1#2")
    assert not membership.is_dead("parser.1#3")


def test_a_generation_newer_than_the_roster_may_overtake_it() -> None:
    membership = Membership()
    membership.meet(Roster(1, (member("parser.1", 1),)))
    assert not membership.is_dead("parser.1#2")
    assert not membership.is_dead("supervisor")


def test_a_successor_that_comes_with_the_same_roster_is_a_death_and_a_birth() -> None:
    membership = Membership()
    membership.meet(Roster(1, (member("parser.1", 1),)))
    assert membership.meet(Roster(2, (member("parser.1", 2),))) == ([member("parser.1", 2)], [member("parser.1", 1)])
