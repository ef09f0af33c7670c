"""The exception tree. The class of an error, not its text, tells a loop what to do with it."""

from __future__ import annotations

#: So much is kept of what is said of a record, in characters: the beginning says what it is, the end of a stack where.
_HEAD, _TAIL = 1024, 7168
#: And of the word for it, which is meant to be a short one.
_REASON_CHARS = 200


def plain_reason(error: OSError) -> str:
    """Return the system's words for an error, to go into a sentence; words of our own stay as they are."""
    return error.strerror.lower() if error.strerror else str(error)


class ThresherError(Exception):
    """Base of all errors that Thresher raises on purpose."""


class ConfigError(ThresherError):
    """The configuration is wrong: the process ends with exit code 78 and this text, no traceback.

    The text says what is wrong, what was expected, what was found, where, and how to mend it.

    Example::

        try:
            run("words", settings={"parser.workers": "many"})
        except ConfigError as error:
            print(error)  # what is wrong, where, and what is valid
    """


class Reject(ThresherError):
    """This record is bad data: it goes to the dead-letter store, everything else goes on.

    Raised by a per-record function, or put in a record's place by a per-chunk one.

    Args:
        reason: a short stable word, counted in the report (``columns``, ``latitude``).
        detail: what exactly was found, for a person; may be empty.

    Example::

        def parse(line):
            fields = line.split(b";")
            if len(fields) != 5:
                raise Reject("columns", f"expected 5, got {len(fields)}")
            return fields
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason, self.detail = short_word(reason), storable(detail)

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}" if self.detail else self.reason


def shortened(text: str, head: int = _HEAD, tail: int = _TAIL) -> str:
    """The beginning and the end of a text, so many characters of each, and how much is left out between them."""
    if len(text) <= head + tail:
        return text
    return f"{text[:head]}\n... {len(text) - head - tail} characters ...\n{text[-tail:]}"


def storable(text: object) -> str:
    """Text that can be stored and sent, whatever it was made from: not long, and without half characters.

    An error that quotes its record is as long as that, three times in a traceback, and four times when its bytes are
    not printable. A record of some MB would make a letter that no frame holds.
    """
    text = shortened(str(text))
    return text if text.isascii() else shortened(text.encode(errors="backslashreplace").decode())


def short_word(reason: object) -> str:
    """The same of a reason: it is counted, and travels in headers."""
    return storable(str(reason)[:_REASON_CHARS])


class Finish(Exception):
    """Raised by an application's function for a record (or put in the place of one, per chunk): enough, no more input.

    The record itself is ``filtered``. Once it is acknowledged the reader takes no further input, finishes what was
    accepted, and the run ends as at the end of its input.

    Example::

        def parse(line):
            if line == b"terminate":
                raise Finish
            return int(line)
    """


class NoTerminal(BaseException):
    """A function asks for a debugger in an actor, which has no terminal. No ``Exception``: it says nothing of a record.

    Its text is the place.
    """


#: What can stand in the place of a value.
NO_VALUE = (Reject, Finish)


class Retryable(ThresherError):
    """An outside system cannot be used now. Retry the same call with backoff; nothing is lost.

    The text names the system and what it answered: it is shown to the person who waits.

    Example::

        class Opened(Sink):
            def write(self, payloads):
                try:
                    self.client.send([payload.data for payload in payloads])
                except ConnectionError as error:
                    raise Retryable(f"the index at 10.0.0.5:9200: {error}") from error
                return []
    """


class NotYet(ThresherError):
    """What an actor works on cannot be opened now: it tries again, and is not ready before.

    Args:
        wait_s: seconds until the next try.
    """

    def __init__(self, wait_s: float) -> None:
        super().__init__(wait_s)
        self.wait_s = wait_s


class Fatal(ThresherError):
    """Going on would break a promise: the actor ends at once and its supervisor decides."""


class Lost(ThresherError):
    """An outside system has lost what was acknowledged, and nobody holds it any more: the run ends with exit code 1 and
    this text, which says what is missing and what a person can do.

    Example::

        class Opened(Sink):
            def write(self, payloads):
                if self.client.position() < self.acknowledged:
                    raise Lost(f"the index at 10.0.0.5:9200 has lost {self.client.position()} to {self.acknowledged}")
    """


class DecodeError(ThresherError):
    """A frame on the wire is not a message of this protocol: it is counted and dropped."""
