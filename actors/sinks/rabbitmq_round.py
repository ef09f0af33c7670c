"""What one call of the RabbitMQ sink has to publish, and what has become of each message: pure bookkeeping.

    0 … first   settled: confirmed by the server, or refused          first … next   published, not all confirmed
    next … end  to be published                                       outstanding    tag of the server → message

A message is known by its number in the call; the server knows it by its tag, which counts what was published on a
channel. After a failure everything from ``first`` on is published again, also what was confirmed behind it: in each
queue the last message of a key stays the newest, whatever was taken of those before it.

Confirms come in any order and for many at once (``multiple``); a message that nobody takes is returned before it is
confirmed. No clock, no connection.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Sequence

from actors.runtime.values import Payload, Refusal
from actors.topics.blocks import Message, Stored, pack_items, stored_in
from actors.topics.record_ids import ids_of


class Messages:
    """The messages of a call, by number; those of one payload at a time are unpacked.

    Args:
        payloads: of the call.
    """

    def __init__(self, payloads: Sequence[Payload]) -> None:
        self._payloads = payloads
        self._starts = [0]
        for payload in payloads:
            self._starts.append(self._starts[-1] + payload.count)
        self._names = [_name(payload) for payload in payloads]
        self._at = -1
        self._stored: list[Stored] = []
        self._ids: list[str] = []
        self._by_id: dict[str, int] = {}  # made when it is first asked for

    def __len__(self) -> int:
        return self._starts[-1]

    def are_of(self, payloads: Sequence[Payload]) -> bool:
        """Whether these payloads are the same, given once more after a failure."""
        return [_name(payload) for payload in payloads] == self._names

    def place(self, number: int) -> tuple[int, int]:
        """The payload of a message, and which of its items it is."""
        at = bisect.bisect_right(self._starts, number) - 1
        return at, number - self._starts[at]

    def get(self, number: int) -> tuple[str, Stored]:
        """The id of a message, and the message."""
        at, item = self.place(number)
        if at != self._at:
            self._at, self._stored = at, stored_in(self._payloads[at].data)
            self._ids = ids_of(self._payloads[at])
        return self._ids[item], self._stored[item]

    def number_of(self, record_id: str) -> int | None:
        """The number of the message with this id; None: it is none of these."""
        if not self._by_id:
            names = (name for payload in self._payloads for name in ids_of(payload))
            self._by_id = {name: number for number, name in enumerate(names)}
        return self._by_id.get(record_id)


class Outstanding:
    """What is published on a channel and not confirmed: numbers and sizes of messages, by the server's tags.

    Attributes:
        bytes: of all of them.
    """

    def __init__(self) -> None:
        self._by_tag: dict[int, tuple[int, int]] = {}
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._by_tag)

    def add(self, tag: int, number: int, size: int) -> None:
        """A message was published; tags only grow."""
        self._by_tag[tag] = (number, size)
        self.bytes += size

    def take(self, tag: int, multiple: bool) -> list[int]:
        """Take out this one and, with ``multiple``, all before it; those that are no longer here are passed over."""
        tags = [tag]
        if multiple:
            tags = []
            for one in self._by_tag:
                if one > tag:
                    break
                tags.append(one)
        found = [taken for one in tags if (taken := self._by_tag.pop(one, None)) is not None]
        self.bytes -= sum(size for _, size in found)
        return [number for number, _ in found]


class Round:
    """What becomes of the messages of a call.

    Args:
        payloads: of the call.
        waits: a message that nobody takes is waited for; False: it is refused for good.

    Attributes:
        messages: of the call.
        outstanding: those that are published and not confirmed.
        refusals: of messages that are refused for good.
        first: all messages before it are settled.
        next: the message to publish next.
        careful_until: up to this message they are published one at a time, for one of them has failed.
        nacked: a message was refused by its queue, which may take it later.
        unrouted: the server's words for a message that nobody takes and that is waited for.
    """

    def __init__(self, payloads: Sequence[Payload], waits: bool) -> None:
        self.messages = Messages(payloads)
        self.outstanding = Outstanding()
        self.refusals: list[Refusal] = []
        self.first = self.next = self.careful_until = 0
        self.nacked = False
        self.unrouted = ""
        self._waits = waits
        self._settled: set[int] = set()
        self._refused: set[int] = set()
        self._returned: dict[int, str] = {}

    @property
    def is_over(self) -> bool:
        """Whether all messages are settled."""
        return self.first == len(self.messages)

    @property
    def has_more(self) -> bool:
        """Whether there is one to publish."""
        return self.next < len(self.messages)

    @property
    def has_failed(self) -> bool:
        """Whether a message was not taken, and may be later."""
        return self.nacked or bool(self.unrouted)

    def take(self, tag: int) -> tuple[str, Stored] | None:
        """Return the next message and its id, to be published under this tag; None: there is none left."""
        while self.next in self._refused:
            self.next += 1
        if self.next >= len(self.messages):
            return None
        found = self.messages.get(self.next)
        self.outstanding.add(tag, self.next, len(found[1].value or b""))
        self.next += 1
        return found

    def confirmed(self, tag: int, multiple: bool, is_taken: bool) -> None:
        """The server has said what became of a message, or of all up to it; not ``is_taken``: its queue has refused it,
        and may take it later."""
        settled = []
        for number in self.outstanding.take(tag, multiple):
            why = self._returned.pop(number, "")
            if not is_taken:
                self.nacked = True
            elif why and self._waits:
                self.unrouted = why
            else:
                if why:
                    self._refuse(number, "unroutable", why)
                settled.append(number)
        self._settle(settled)

    def returned(self, record_id: str, why: str) -> None:
        """The server has given a message back, for nobody takes it; it is confirmed, too, behind this."""
        number = self.messages.number_of(record_id)
        if number is not None:
            self._returned[number] = why

    def refuse_first(self, reason: str, detail: str) -> None:
        """The first message that is not settled is refused for good."""
        number = self.first
        self._refuse(number, reason, detail)
        self._settle([number])

    def begin_again(self, careful: bool) -> None:
        """Publish everything from ``first`` on; ``careful``: one at a time as far as it had come. No answer to what was
        published before may still come: all of it is in, or the channel is another."""
        if careful:
            self.careful_until = max(self.careful_until, self.next)
        self.nacked, self.unrouted = False, ""
        self.outstanding = Outstanding()
        self._returned.clear()
        self._settled = {number for number in self._refused if number >= self.first}
        self._settle(())
        self.next = self.first

    def _refuse(self, number: int, reason: str, detail: str) -> None:
        at, item = self.messages.place(number)
        one = self.messages.get(number)[1]
        raw = pack_items([Message(one.value, one.key, one.time, one.headers)], 1)
        self.refusals.append(Refusal(at, item, reason, detail, raw))
        self._refused.add(number)

    def _settle(self, numbers: Iterable[int]) -> None:
        self._settled.update(numbers)
        while self.first in self._settled:
            self._settled.discard(self.first)
            self.first += 1


def _name(payload: Payload) -> tuple[str, int, int, int]:
    return payload.partition, payload.start, payload.end, payload.count
