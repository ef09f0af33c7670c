"""Partial aggregates as an application makes them, looked at before anybody merges them."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from actors.runtime.fitness import FOLD, Unfit
from actors.runtime.lift import bind_partials
from actors.runtime.pipeline import Fold
from actors.runtime.windows import WindowId, by_sessions

Partial = dict[tuple[Any, ...], list[Any]]
#: What becomes of a record whose partials are none.
REASON = "fold_error"


class Folding:
    """The fold of an application.

    Args:
        fold: its functions.
        options: the application's options, or None.
        kind: of its windows; empty: it has none.
    """

    def __init__(self, fold: Fold, options: msgspec.Struct | None, kind: str) -> None:
        self._partials = bind_partials(fold.partials, options)
        self._keys = fold.keys
        self._kind = kind

    def __call__(self, values: list[Any], places: Sequence[Any], unit: int) -> Partial:
        """Partial aggregates; with windows those of each, its (start, end, key) before the key.

        Raises:
            Unfit: the application has returned something else.
        """
        if not self._kind:
            return self._made(values, unit)
        by_window: dict[WindowId, list[Any]] = {}
        if places[0] and len(set(map(id, places))) == 1:  # the usual case: the same for all, however many these are
            found = self._made(values, unit)
            return {(window, key): list(numbers) for window in places[0] for key, numbers in found.items()}
        if self._kind == "session":
            by_window = by_sessions(values, places)
        else:
            for value, place in zip(values, places, strict=True):
                for window in place:
                    by_window.setdefault(window, []).append(value)
        return {(window, key): numbers for window, some in by_window.items()
                for key, numbers in self._made(some, unit).items()}

    def _made(self, values: list[Any], unit: int) -> Partial:
        found: Partial = self._partials(values, unit)
        self.require(found)
        return found

    def require(self, found: Any) -> None:
        """Make sure that these are partial aggregates.

        Raises:
            Unfit: they are not.
        """
        if not isinstance(found, Mapping):
            raise Unfit(FOLD, found, REASON, f"partials returns {_what(found)}, "
                        f"and it takes {{key: numbers}}, as in {{{self._example()}: [1]}}")
        if not found:
            return
        if not set(map(type, found)) <= {tuple} or set(map(len, found)) != {len(self._keys)}:
            wrong = next(key for key in found if type(key) is not tuple or len(key) != len(self._keys))
            raise Unfit(FOLD, wrong, REASON, f"partials returns {_what(wrong)} as a key, "
                        f"and keys are tuples of {', '.join(self._keys)}, as in {self._example()}")
        if not set(map(type, found.values())) <= {list, tuple}:
            wrong = next(numbers for numbers in found.values() if not isinstance(numbers, list | tuple))
            raise Unfit(FOLD, wrong, REASON, f"partials returns {_what(wrong)} as the numbers of a key, "
                        "and it takes a list, as in [1]")

    def _example(self) -> str:
        names = ", ".join(repr(f"some {name}") for name in self._keys)
        return f"({names},)" if len(self._keys) == 1 else f"({names})"


def _what(value: Any) -> str:
    return f"{type(value).__name__} {reprlib.repr(value)}"
