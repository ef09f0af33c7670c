"""What a sink has written, read back: the port that panels are drawn through."""

from __future__ import annotations

from typing import Any, Protocol


class Follower(Protocol):
    """Reads back what is written to a sink, by whatever process, while it is written.

    Only what counts is read: what a kill may take away again is not. Used by one thread.

    Example::

        def drawn(follower: Follower) -> None:
            for item in follower.new():
                print(item)
    """

    def new(self) -> list[Any]:
        """Return the items that were written since the last call, oldest first; at first the last ones.

        Raises:
            OSError: they cannot be read now.
            ThresherError: what is there is none of this sink's.
        """
        ...

    def close(self) -> None:
        """Give the resource back; may be called again."""
        ...
