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
