"""A group of batches as one ``MULTI`` of Redis: what is sent for it, and what the replies mean.

    MULTI   SET …   SET …   DEL …   HSET positions   EXEC           WATCH   HEXISTS holder   [WAIT]
    +OK     +QUEUED +QUEUED +QUEUED +QUEUED          *4 +OK +OK :1 :2   +OK     :1               :1

Every reply is counted. That all are well is seen without taking them apart; only when one is not are they, one by one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import msgspec

from actors.runtime.values import Payload, Refusal
from actors.sinks.redis_index import advance
from actors.sinks.redis_resp import Fault, Reply, command, commands_in, parse
from actors.sinks.redis_server import Server, ServerOptions

#: Payload and item.
Place = tuple[int, int]
_QUEUED = b"+QUEUED\r\n"
#: Replies of commands that have done what they are for; ``$-1`` is a ``SET NX`` whose key is there.
_GOOD = frozenset((b"+OK", b":0", b":1", b"$-1"))
#: The begin of what is not well: an error, or an EXEC that did nothing.
_BAD = (b"\n-", b"\n*-1")
_OVERLAP_BYTES = 3
_MULTI, _EXEC = command(b"MULTI"), command(b"EXEC")


class StoreOptions(ServerOptions, Protocol):
    """What writing asks of the options of the sink, which say what each means."""

    @property
    def index(self) -> str: ...
    @property
    def replicas(self) -> int: ...
    @property
    def sync(self) -> bool: ...


class Outcome(msgspec.Struct, frozen=True):
    """What has become of a group.

    Attributes:
        is_done: all of it is there, with its positions; else nothing is, or what is will be written again.
        refused: items that the server refuses for good.
        fault: why it did nothing; None: for no reason of its own.
        is_over: another writer has changed the positions, or a script is gone: a new connection tells.
        is_holder: of what was done: no other writer has connected since.
        waits: why it does not count as written yet; empty: it does.
    """

    is_done: bool = False
    refused: dict[Place, Refusal] = {}
    fault: Fault | None = None
    is_over: bool = False
    is_holder: bool = True
    waits: str = ""


class Group:
    """Batches that are written in one transaction.

    Args:
        payloads: the batches.
        refused: what is left out of them, and remembered.
        options: of the sink.
        waiting: the command that waits for replicas and disks; may be empty.
    """

    def __init__(self, payloads: Sequence[Payload], refused: dict[Place, Refusal], options: StoreOptions,
                 waiting: bytes) -> None:
        self._payloads = payloads
        self._refused = refused
        self._options = options
        self._waiting = waiting
        self._items = sum(payload.count for payload in payloads) - len(refused)
        self._plus = 1 + bool(refused)

    def sent(self, server: Server, applied: bytes, refused: bytes, holder: bytes) -> Outcome:
        """Send it, and return what has become of it.

        Args:
            server: where to.
            applied: the hash of positions.
            refused: the hash of what is refused.
            holder: the field of ``applied`` that says that this writer is the holder.

        Raises:
            OSError: the connection is lost, or gives no answer.
        """
        tail = [command(b"WATCH", applied), command(b"HEXISTS", applied, holder)]
        tail += [self._waiting] * bool(self._waiting)
        data = b"".join([_MULTI, *self._bodies(), *self._remembered(refused), self._positions(applied), _EXEC, *tail])
        queued = self._items + self._plus
        head = b"+OK\r\n%b*%d\r\n" % (_QUEUED * queued, queued)
        lines_of_waiting = 0 if not self._waiting else 3 if b"WAITAOF" in self._waiting else 1
        replies = _Replies(2 + 2 * queued + 2 + lines_of_waiting, 2 + queued + len(tail))
        for part in server.exchange(data, len(head) + 9):
            if replies.are_complete(part):
                break
        if replies.are_well and (outcome := self._if_well(bytes(replies.data), head)) is not None:
            return outcome
        return self._outcome(replies.apart())

    # What is sent -----------------------------------------------------------------------------------------------------

    def _bodies(self) -> Iterator[bytes | memoryview]:
        left_out: dict[int, set[int]] = {}
        for payload, item in self._refused:
            left_out.setdefault(payload, set()).add(item)
        for index, each in enumerate(self._payloads):
            if index not in left_out:
                yield each.data
            else:
                yield b"".join(one for item, (one, _) in enumerate(commands_in(each.data))
                               if item not in left_out[index])

    def _remembered(self, key: bytes) -> Iterator[bytes]:
        by_batch: dict[bytes, list[tuple[int, str, str]]] = {}
        for (index, item), one in sorted(self._refused.items()):
            by_batch.setdefault(place_of(self._payloads[index]), []).append((item, one.reason, one.detail))
        if by_batch:
            yield command(b"HSET", key, *(word for place, some in by_batch.items()
                                          for word in (place, msgspec.msgpack.encode(some))))

    def _positions(self, applied: bytes) -> bytes:
        ends = {payload.partition: payload.end for payload in self._payloads}
        words = [word for partition, end in ends.items() for word in (partition.encode(), b"%d" % end)]
        return advance(applied, words) if self._options.index else command(b"HSET", applied, *words)

    # What is answered -------------------------------------------------------------------------------------------------

    def _if_well(self, data: bytes, head: bytes) -> Outcome | None:
        """What has become of it, when every reply is as it should be; else None."""
        if not data.startswith(head):
            return None
        lines = data[len(head):].split(b"\r\n")
        done, rest = lines[:self._items + self._plus], lines[self._items + self._plus:]
        if not _GOOD.issuperset(done[:self._items]):
            return None
        waited = parse(b"\r\n".join(rest[2:]), 0) if self._waiting else (None, 0)
        return Outcome(is_done=True, is_holder=rest[1] == b":1",
                       waits=waiting_of(waited[0], self._options) if waited and self._waiting else "")

    def _outcome(self, replies: list[Reply]) -> Outcome:
        queued = self._items + self._plus
        done = replies[1 + queued]
        for reply in (*replies[:1 + queued], done):
            if isinstance(reply, Fault):
                return Outcome(fault=reply)
        if not isinstance(done, list):
            return Outcome(is_over=True)
        faults = {at: reply for at, reply in enumerate(done) if isinstance(reply, Fault)}
        if any(fault.kind == "NOSCRIPT" for fault in faults.values()):
            return Outcome(is_over=True)
        places = self._places() if faults else []
        refused = {places[at][0]: Refusal(*places[at][0], "sink_rejected", fault.text, places[at][1])
                   for at, fault in faults.items() if at < self._items}
        if queued - 1 in faults and not refused:
            return Outcome(fault=faults[queued - 1])
        waited = waiting_of(replies[-1], self._options) if self._waiting else ""
        return Outcome(is_done=queued - 1 not in faults, refused=refused, is_holder=replies[3 + queued] == 1,
                       waits=waited)

    def _places(self) -> list[tuple[Place, bytes]]:
        """Of each item that was sent, where it is, and its command."""
        return [((index, item), one) for index, payload in enumerate(self._payloads)
                for item, (one, _) in enumerate(commands_in(payload.data)) if (index, item) not in self._refused]


class _Replies:
    """The replies to a transaction, as they come.

    Args:
        lines: of all of them, when all is well.
        number: how many.
    """

    def __init__(self, lines: int, number: int) -> None:
        self._lines_left = lines
        self._number = number
        self._found: list[Reply] = []
        self._at = 0
        self.data = bytearray()
        #: Nothing has come that is not well.
        self.are_well = True

    def are_complete(self, part: bytes) -> bool:
        """Take a part of them; return whether that was the last."""
        seen = max(0, len(self.data) - _OVERLAP_BYTES)
        self.data += part
        self._lines_left -= part.count(b"\n")
        if self.are_well and (self.data.startswith(b"-") or any(self.data.find(bad, seen) >= 0 for bad in _BAD)):
            self.are_well = False
        if self.are_well:
            return self._lines_left <= 0
        return len(self.apart()) == self._number

    def apart(self) -> list[Reply]:
        """Those that have come whole."""
        while len(self._found) < self._number and (one := parse(self.data, self._at)) is not None:
            self._found.append(one[0])
            self._at = one[1]
        return self._found


def place_of(payload: Payload) -> bytes:
    """What the refusals of a batch are kept under."""
    return f"{payload.partition} {payload.start}".encode()


_remembered = msgspec.msgpack.Decoder(list[tuple[int, str, str]])


def refusals_again(index: int, payload: Payload, packed: bytes) -> list[Refusal]:
    """What was refused of a batch when it was written, as it was remembered then, without the items themselves: one may
    be too large to be sent."""
    items = [one for one, _ in commands_in(payload.data)]
    return [Refusal(index, item, reason, detail, items[item]) for item, reason, detail in _remembered.decode(packed)]


def too_large(payloads: Sequence[Payload], most_bytes: int) -> dict[Place, Refusal]:
    """The items that a server does not take: it would close the connection in the middle of one, without a word that
    arrives for certain."""
    found: dict[Place, Refusal] = {}
    for index, payload in enumerate(payloads):
        if len(payload.data) <= most_bytes:
            continue
        for item, (one, words) in enumerate(commands_in(payload.data)):
            if (size := max(map(len, words))) > most_bytes:
                found[index, item] = Refusal(index, item, "too_large", f"{size} bytes: the server takes {most_bytes} "
                                             "(proto-max-bulk-len)", one)
    return found


def waiting_of(reply: Reply, options: StoreOptions) -> str:
    """Why what was written is not as safe yet as it is wanted, from the reply to WAIT or WAITAOF; empty: it is."""
    match reply:
        case Fault(text):
            return text
        case [int(here), int(replicas)] if here < 1:
            return f"it is not on the server's disk after {options.timeout_s / 2:g} s"
        case [_, int(replicas)] | int(replicas) if replicas < options.replicas:
            return f"{replicas} of {options.replicas} replicas have it after {options.timeout_s / 2:g} s"
    return ""
