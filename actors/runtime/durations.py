"""How long it has been: since a batch was issued, since anything has moved. Pure."""

from __future__ import annotations

from actors.runtime.values import Chunk


class Ages:
    """Since when each open batch of a reader is open, in the order in which they were issued.

    A batch is known by its unit and its end: when it is split its last half has both, and those of a unit are closed in
    order.
    """

    def __init__(self) -> None:
        self._since: dict[tuple[int, int], float] = {}

    def issued(self, chunk: Chunk, now: float) -> None:
        """A batch is open from now on."""
        self._since[chunk.unit, chunk.end] = now

    def closed(self, chunk: Chunk, now: float) -> float | None:
        """A batch is closed; return how long it was open. None: there is a rest of it that is still open."""
        since = self._since.pop((chunk.unit, chunk.end), None)
        return None if since is None else now - since

    def oldest(self) -> float:
        """Since when the oldest is open; 0 when none is."""
        return next(iter(self._since.values()), 0.0)


class Silence:
    """When an origin has heard nothing for too long. Patience doubles each time: who is slow is asked ever less often.

    Args:
        patience_s: seconds of silence at first.
    """

    def __init__(self, patience_s: float) -> None:
        self._first_s = self._patience_s = patience_s
        #: When it will have lasted too long.
        self.until = 0.0

    def is_too_long(self, is_over: bool, now: float) -> bool:
        """Whether it has lasted too long by now; ``is_over``: something has moved, or nothing is waited for."""
        if is_over:
            self._patience_s = self._first_s
        elif now < self.until:
            return False
        else:
            self._patience_s *= 2
        self.until = now + self._patience_s
        return not is_over
