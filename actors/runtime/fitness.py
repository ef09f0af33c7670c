"""Whether what an application makes is of a type that its sinks, its fold and its windows can take at all.

    a few of a thousand cannot be taken                         data: a dead letter each
    a hundred, all of one type, and none before, in any run     the program: exit code 78, in a sentence

Judged where it is made, when all of a batch is there. What the application rejects itself is never counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from actors.runtime.errors import ConfigError, Reject

#: So many are not data any more.
ENOUGH = 100
#: What takes things beside the sinks, which are called ``sinks.NAME``.
FOLD, TIME, KEY = "fold", "windows.time", "windows.key"


class Unfit(Reject):
    """What a function of the application has returned is none of what it may return.

    Args:
        place: what cannot take it.
        value: what was returned.
        reason: of the dead letter, where it is data.
        why: what was returned, and what was expected.
    """

    def __init__(self, place: str, value: object, reason: str, why: str) -> None:
        super().__init__(reason, why)
        self.place = place
        self.kind = type(value).__name__
        self.why = why


class Fitness:
    """What one worker has seen taken and refused, by place.

    Args:
        was_taken: whether an earlier batch of this state has had something taken by this place.
    """

    def __init__(self, was_taken: Callable[[str], bool]) -> None:
        self._was_taken = was_taken
        self._taken: set[str] = set()
        self._refused: dict[str, tuple[int, str, str]] = {}

    def took(self, place: str) -> None:
        """Something was taken: what is refused from here on is data."""
        self._taken.add(place)

    def refused(self, place: str, kind: str, why: str) -> None:
        """An item was not.

        Args:
            place: what has refused it.
            kind: of what type it is.
            why: what was expected and what was got, for people.
        """
        if place in self._taken:
            return
        number, before, first = self._refused.get(place, (0, kind, why))
        if kind != before:  # of several types: data
            self._taken.add(place)
            return
        self._refused[place] = number + 1, kind, first

    def judge(self, unfit: Iterable[Unfit] = (), taken: Iterable[str] = ()) -> None:
        """A batch is made; these were refused in it, where there was something to take, beside what was told before.

        Raises:
            ConfigError: a sink, the fold or the windows can take none of what is made.
        """
        self._taken.update(taken)
        for each in unfit:
            self.refused(each.place, each.kind, each.why)
        for place, (number, _, why) in self._refused.items():
            if number < ENOUGH or place in self._taken:
                continue
            if self._was_taken(place):
                self._taken.add(place)
                continue
            raise ConfigError(f"{place}: {why}: none of the first {number} that were made could be taken")
