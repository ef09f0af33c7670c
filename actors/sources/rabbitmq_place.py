"""Where a stream is read on, and whether it is still the stream that was read.

    reading ──set up again──▶ checking: from the last message that was journalled on
                                 ├─ it comes, and is the one ──────────────▶ reading behind it
                                 ├─ one behind it comes: retention has it ─▶ reading (the gap is told)
                                 ├─ it comes, and is another ──────────────▶ another stream: told, from its beginning
                                 └─ nothing comes ──▶ probing: from the last messages of the stream on
                                                         ├─ they are as far as what was read ──▶ checking again
                                                         ├─ they are not ──▶ another stream
                                                         └─ nothing comes: nothing is in it; wait

A stream that is deleted and made anew under its name begins at offset 0. A server that is asked for an offset that is
not there yet says nothing, and delivers nothing below it: what is in the new stream would be passed over without a
word. So the last message that is known is asked for once more. A server that is only slow costs a probe, no more: that
a stream is another one is said only when messages of it prove that.

What does not work: how many messages are in a stream (the server knows that some seconds later); to go by the server's
word that a queue was deleted (nobody hears it who is not connected just then).

Pure: no client, no clock.
"""

from __future__ import annotations

from enum import StrEnum, auto

#: Nothing has come for so long where something has to be.
SILENT_S = 5.0
#: The offset that a server takes for the last messages of a stream.
LAST = "last"


class State(StrEnum):
    """What is known of a stream."""

    READING = auto()
    CHECKING = auto()
    PROBING = auto()


class Verdict(StrEnum):
    """What to do with a message, or at a moment."""

    TAKE = auto()
    #: It is known, or not to be read yet.
    PASS = auto()
    #: Have the consumer set up again: ``begins`` says where.
    AGAIN = auto()
    #: It is another stream than the one that was read: read it from its beginning.
    ANOTHER = auto()


class Place:
    """See above.

    Attributes:
        state: what is known.
    """

    def __init__(self) -> None:
        self.state = State.READING
        self._next = 0
        self._mark = b""
        self._since = 0.0
        self._has_come = self._is_probe = False

    def begins(self, expected: int | None, mark: bytes, now: float) -> int | str | None:
        """A consumer is set up: return the offset to ask for; None: the stream was not read before.

        Args:
            expected: the offset behind the last message that was journalled; None: there is none.
            mark: what that message is known by; empty: that is not known.
            now: monotonic seconds.
        """
        is_probe, self._is_probe = self._is_probe, False
        self._next, self._mark, self._since, self._has_come = expected or 0, mark, now, False
        if not expected:
            self.state = State.READING
            return expected
        self.state = State.PROBING if is_probe else State.CHECKING
        return LAST if is_probe else expected - 1

    def takes(self, offset: int, mark: bytes, now: float) -> Verdict:
        """A message has come."""
        if self.state is State.READING:
            return Verdict.TAKE
        if self.state is State.PROBING:
            if offset >= self._next - 1:
                return Verdict.AGAIN
            self._since = self._since if self._has_come else now
            self._has_come = True
            return Verdict.PASS
        if offset < self._next - 1:  # what was published together may be delivered together
            return Verdict.PASS
        self.state = State.READING
        if offset >= self._next:
            return Verdict.TAKE
        return Verdict.PASS if not self._mark or mark == self._mark else Verdict.ANOTHER

    def look(self, is_consuming: bool, now: float) -> Verdict:
        """Nothing may have come for long; ``is_consuming``: something could."""
        if self.state is State.READING:
            return Verdict.TAKE
        if not is_consuming:
            self._since = now
        if now - self._since < SILENT_S:
            return Verdict.PASS
        if self.state is State.CHECKING:
            self._is_probe = True
            return Verdict.AGAIN
        return Verdict.ANOTHER if self._has_come else Verdict.PASS
