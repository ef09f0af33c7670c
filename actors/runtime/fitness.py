"""Whether what an application makes is of a type that its sinks, and its fold, can take at all.

    a few of a thousand cannot be taken                         data: a dead letter each
    a hundred, all of one type, and none before, in any run     the program: exit code 78, in a sentence

Judged where it is made, when all of a batch is there. What the application rejects itself is never counted.
"""

from __future__ import annotations

from collections.abc import Callable

from actors.runtime.errors import ConfigError

#: So many are not data any more.
ENOUGH = 100
#: What the fold is called beside the names of sinks.
FOLD = ""


class Fitness:
    """What one worker has seen taken and refused, by sink.

    Args:
        was_taken: whether an earlier batch of this state has had something taken by a sink, or by the fold (``FOLD``).
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
            place: the sink.
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

    def judge(self) -> None:
        """A batch is made.

        Raises:
            ConfigError: a sink, or the fold, can take none of what is made.
        """
        for place, (number, _, why) in self._refused.items():
            if number < ENOUGH or place in self._taken:
                continue
            if self._was_taken(place):
                self._taken.add(place)
                continue
            what = f"sinks.{place}" if place else "fold"
            raise ConfigError(f"{what}: {why}: none of the first {number} that were made could be taken")
