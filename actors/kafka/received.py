"""What a message that was received is made of, in plain types: the library says less of them than it gives.

The name of a header is text to the library, and bytes to a broker. One that is no UTF-8 makes the library raise, and
leaves a hole in its place: the rest of the message can be had, that name cannot. Of a name with a NUL character the
library says what is in front of that; nobody can tell.
"""

from __future__ import annotations

import gc
from operator import methodcaller
from typing import TYPE_CHECKING, Any, NamedTuple

from actors.runtime.framing import MOST_INT, Headers, Record

if TYPE_CHECKING:
    from confluent_kafka import Message

#: Why a record is a dead letter whose headers have a name that is no text, or whose time no number of ours can say.
BAD_HEADER, BAD_TIME = "bad_header", "bad_time"


#: ``message.headers()``, and an exception when it raises one. Called as a method from a loop that is warm, it gives a
#: list with a hole as if all were well, and the next call of anything is said to have raised: the interpreter's short
#: cut to methods does not look whether a result comes with an exception.
headers_in: Any = methodcaller("headers")


class Odd(NamedTuple):
    """A record that is there, and cannot be read as it was written.

    Attributes:
        record: what can be had of it.
        reason: a short word for it.
        why: for a person.
    """

    record: Record
    reason: str
    why: str


def bytes_of(value: str | bytes | None) -> bytes | None:
    """A key, a value or a header, which are bytes where nobody has set them otherwise."""
    return value.encode() if isinstance(value, str) else value


def headers_of(message: Message) -> Headers:
    """The headers of a message, in order; a name may come twice. One whose name cannot be read is left out."""
    try:
        found: Any = headers_in(message) or []
    except SystemError:
        return readable_headers(message)
    pairs = found.items() if isinstance(found, dict) else found
    return tuple((name, bytes_of(value)) for name, value in pairs)


def readable_headers(message: Any) -> Headers:
    """The headers of a message whose ``headers_in`` has raised ``SystemError``, without those that it was about.

    Asked again, the library gives a list of pairs, of which some have no name: not None, but nothing, which ends the
    process when it is touched. The collector of garbage knows what a pair has without touching it.
    """
    try:
        found = headers_in(message) or []
    except SystemError:  # one that goes on saying so
        return ()
    return tuple((pair[0], bytes_of(pair[1])) for pair in found if len(gc.get_referents(pair)) == 2)


def odd_of(message: Any, unread: SystemError | None = None) -> Odd:
    """What a message is a dead letter for, and what can be had of it.

    Args:
        message: it.
        unread: what ``headers_in`` has raised; None: it is its time that no number of ours can say (a broker takes
            any, where ``message.timestamp.after.max.ms`` lets it).
    """
    kind, time = message.timestamp()
    said = time if kind and -MOST_INT <= time <= MOST_INT else None
    headers = headers_of(message) if unread is None else readable_headers(message)
    record = Record(message.offset(), bytes_of(message.value()), -1, said, bytes_of(message.key()), headers)
    if unread is None:
        return Odd(record, BAD_TIME, f"time: expected ms since 1970 of 62 bits, got {time}; the letter has none")
    cause = unread.__cause__
    name = repr(cause.object) if isinstance(cause, UnicodeDecodeError) else "one that cannot be read"
    return Odd(record, BAD_HEADER, f"headers: expected names in UTF-8, got {name}; the letter has the headers whose "
               "names are")
