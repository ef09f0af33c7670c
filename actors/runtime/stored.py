"""What a sink has stored, to look at: the port that questions are answered through.

    SinkOptions.answers()  ──▶  ("key", "range")        what can be asked
    SinkOptions.reader()   ──▶  Reader: get, range, rows

A reader never writes, makes no file, and takes no lock that a run waits for: it works while a run is writing, after it,
and where the run was killed. It holds nothing between two items that would make a writer wait, or a store of ours grow:
whoever reads slowly (a pager) harms nobody; what is written meanwhile may be seen or not.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, Protocol

from actors.runtime.errors import ThresherError

#: What can be asked of a store: the value of a key, keys from one to another, all rows.
Need = Literal["key", "range", "rows"]


class NothingStored(ThresherError):
    """There is no such store yet: nothing has been written to it. The text says where it would be."""


class Reader:
    """A store of a sink, opened to be looked at. Inherit from this, and give the methods that ``answers`` names.

    Example::

        class Upper(Reader):
            def __init__(self, path):
                self.path = path

            def rows(self):
                with self.path.open() as file:
                    for line in file:
                        yield {"line": line.rstrip()}
    """

    def get(self, key: bytes) -> bytes | None:
        """Return the value of a key; None: there is none (``key``).

        Raises:
            NothingStored: nothing was ever written here.
            Retryable: it cannot be reached now.
        """
        raise NotImplementedError(f"{type(self).__name__}.get")

    def range(
        self, first: bytes = b"", last: bytes | None = None, backwards: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        """Yield (key, value) in the order of keys, from ``first`` to before ``last``; None: to the end (``range``).

        Args:
            first: the first key that may be.
            last: the first key that is too far; None: there is none.
            backwards: the same in the order from the last to the first. Who stops early has read little.

        Raises:
            NothingStored: nothing was ever written here.
            Retryable: it cannot be reached now.
        """
        raise NotImplementedError(f"{type(self).__name__}.range")

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield the rows as they were given, as plain data; times are ms since 1970 (``rows``).

        Raises:
            NothingStored: nothing was ever written here.
            Retryable: it cannot be reached now.
        """
        raise NotImplementedError(f"{type(self).__name__}.rows")

    def close(self) -> None:
        """Give the resource back; may be called again. By default there is none."""


class Store(Protocol):
    """What a question is given: a ``Reader`` of each sink that it needs, by the sink's name. In a test, a dict.

    Example::

        def known(store: Store, *words: str):
            for word in words:
                yield {"word": word, "is_known": store["words"].get(word.encode()) is not None}
    """

    def __getitem__(self, sink: str, /) -> Reader:
        """The store of a sink."""
        ...

    def __contains__(self, sink: object, /) -> bool:
        """Whether this sink is one of those that the answer is to come from."""
        ...


def behind(prefix: bytes) -> bytes | None:
    """The first key behind all that begin with these bytes; None: there is no such.

    Example::

        store["events"].range(b"host/", behind(b"host/"))
    """
    stem = prefix.rstrip(b"\xff")
    return stem[:-1] + bytes([stem[-1] + 1]) if stem else None


def sentence(answers: tuple[Need, ...]) -> str:
    """What a store can answer, for people; empty: nothing."""
    match answers:
        case ("rows",):
            return "answers rows, all of them in their order"
        case ("key",):
            return "answers a key, and nothing else: no range, no list"
        case ("key", "range"):
            return "answers a key, and keys from one to another, in order"
    return f"answers {', '.join(answers)}" if answers else ""
