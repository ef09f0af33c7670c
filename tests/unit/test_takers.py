"""Who gets the next batch."""

from __future__ import annotations

from actors.runtime.takers import Takers


def given(takers: Takers, batches: int) -> list[str | None]:
    who = []
    for _ in range(batches):
        worker = takers.next()
        if worker is not None:
            takers.give(worker)
        who.append(worker)
    return who


def test_who_can_take_two_comes_before_who_can_take_one() -> None:
    takers = Takers()
    takers.grant("a", 1)
    takers.grant("b", 3)
    assert given(takers, 5) == ["b", "b", "a", "b", None]


def test_who_has_just_come_gets_its_share_whatever_the_others_have_granted() -> None:
    takers = Takers()
    takers.grant("quick", 64)
    assert given(takers, 10) == ["quick"] * 10
    takers.grant("new", 64)
    assert given(takers, 4) == ["new", "quick", "new", "quick"]


def test_the_last_slow_batches_go_to_who_has_nothing_in_hand() -> None:
    takers = Takers()
    for worker in "abc":
        takers.grant(worker, 2, 1, 10.0)
    assert takers.idle() == 3
    assert [takers.next(waiting) for waiting in (9, 1)] == ["a", "a"]
    for worker in "ab":
        takers.give(worker)
    assert (takers.next(4), takers.next(3), takers.idle()) == ("c", "c", 1)
    takers.give("c")
    assert (takers.next(4), takers.next(3), takers.idle()) == ("a", None, 0), "three wait, and three will soon be idle"
    takers.grant("b", 1, 1, 10.0)
    assert (takers.next(3), takers.next(1)) == ("b", "b")


def test_of_slow_batches_nobody_has_more_than_two_in_hand_whatever_he_had_granted_when_they_were_quick() -> None:
    takers = Takers()
    for worker in "ab":
        takers.grant(worker, 64, 1, 10.0)
    who = []
    while (found := takers.next(100)) is not None:
        takers.give(found)
        who.append(found)
    assert sorted(who) == ["a", "a", "b", "b"]
    takers.grant("b", 1, 1, 10.0)
    assert (takers.next(100), takers.next(2)) == ("b", None)


def test_one_of_those_who_only_pass_them_on_is_given_all_slow_batches_that_it_takes() -> None:
    takers = Takers()
    takers.through_one = True
    takers.grant("a", 2)
    takers.grant("b", 2)
    assert given(takers, 3) == ["a", "a", "b"]
    takers.grant("a", 2, 2, 0.0002)
    takers.grant("b", 1, 1, 0.0001)
    assert given(takers, 3) == ["b", "b", "a"]
    takers.grant("a", 3, 1, 1.0)
    takers.grant("b", 3, 2, 2.0)
    assert given(takers, 2) == ["b", "a"], "they are slow themselves"


def test_quick_batches_are_given_as_far_as_the_credit_goes() -> None:
    takers = Takers()
    takers.grant("a", 3, 1, 0.001)
    assert given(takers, 4) == ["a", "a", "a", None]


def test_who_died_or_was_asked_anew_has_nothing_in_hand() -> None:
    takers = Takers()
    takers.grant("a", 2, 1, 10.0)
    takers.give("a")
    assert takers.next(1) is None
    takers.take_back()
    takers.grant("a", 2)
    assert takers.next(1) == "a"
    takers.give("a")
    takers.lost("a")
    takers.grant("a", 2)
    assert takers.next(1) == "a"


def test_who_is_held_or_dead_gets_nothing_and_the_dead_grant_anew() -> None:
    takers = Takers()
    takers.grant("a", 5)
    takers.grant("b", 5)
    takers.hold("a", True)
    takers.lost("b")
    assert (given(takers, 1), takers.credit()) == ([None], 0)
    takers.hold("a", False)
    assert (given(takers, 1), takers.credit()) == (["a"], 4)
    assert [takers.take_back(), takers.take_back()] == [["a"], ["a"]], "whoever is asked may not have heard it"
    assert given(takers, 1) == [None]
