"""The messages of a group of batches on their way to Kafka: what each is called, and what became of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from actors.kafka.clients import Properties
from actors.runtime.errors import Reject
from actors.runtime.framing import Record
from actors.runtime.values import Payload, Refusal
from actors.topics.blocks import Message, Stored, pack_items, stored_in
from actors.topics.record_ids import ids_of

if TYPE_CHECKING:
    from confluent_kafka import KafkaError, Producer

#: The header that names the record: the same however often it is delivered.
RECORD_ID = "thresher-id"
#: The largest message, by default of the library.
MAX_MESSAGE_BYTES = 1_000_000
#: What the library takes as such.
_LEAST_MAX, _MOST_MAX = 1000, 1_000_000_000
#: What the broker says of a message that it never takes, and the short word for it.
_REFUSED = {"MSG_SIZE_TOO_LARGE": "too_large", "RECORD_LIST_TOO_LARGE": "too_large", "INVALID_RECORD": "sink_rejected",
            "INVALID_TIMESTAMP": "sink_rejected", "INVALID_MSG": "sink_rejected", "INVALID_MSG_SIZE": "sink_rejected"}
#: It stood in a batch with one of those.
_NEIGHBOUR = "_INVALID_DIFFERENT_RECORD"
#: What of a message is said beside a refusal.
_SHOWN = 200

#: Which payload, which item.
Place = tuple[int, int]
_Outgoing = tuple[Place, Stored, str]


def pack(items: Sequence[Any], client: Properties) -> bytes:
    """Return the payload of a batch.

    Raises:
        Reject: an item is no message, larger than the client sends, or of a time that it cannot say.
    """
    for item in items:
        if isinstance(item, (Message, Record)):
            _require_sayable(item)
    payload = pack_items(items, 1)
    largest = require_largest(client)
    if len(payload) > largest:
        for one in stored_in(payload):
            if (size := _size_of(one)) > largest:
                raise Reject("too_large", f"a message of {size} bytes: expected at most {largest}; more with client = "
                             "{\"message.max.bytes\" = …}, where the topic takes it (max.message.bytes)")
    return payload


def require_largest(client: Properties) -> int:
    """The largest message that a client with this table sends, in bytes.

    Raises:
        ValueError: the table does not say a number of bytes that the library takes.
    """
    said = client.get("message.max.bytes", MAX_MESSAGE_BYTES)
    number = int(said) if isinstance(said, str) and said.isdecimal() and said.isascii() else said
    if isinstance(number, bool) or not isinstance(number, int) or not _LEAST_MAX <= number <= _MOST_MAX:
        raise ValueError("client: message.max.bytes: expected a whole number of bytes, "
                         f"{_LEAST_MAX:,} to {_MOST_MAX:,}, got {said!r}")
    return number


def is_refused(error: KafkaError) -> bool:
    """Whether a message, or its neighbour in a batch, is one that the broker never takes."""
    return error.name() in _REFUSED or error.name() == _NEIGHBOUR


class Group:
    """Batches that are written together.

    Args:
        payloads: of them.
        refused: what is known to be refused, and is not sent.
    """

    def __init__(self, payloads: Sequence[Payload], refused: dict[Place, Refusal] | None = None) -> None:
        self.refused: dict[Place, Refusal] = dict(refused or {})
        self.failed: dict[Place, KafkaError] = {}
        self._payloads = tuple(payloads)
        self._rest: Iterator[_Outgoing] = iter(())
        self._held: _Outgoing | None = None
        self._first: Place = (0, 0)
        self._is_narrow = False
        self._only: frozenset[Place] | None = None  # what is sent at all; None: all
        self._late: Place | None = None  # from here on messages are there in another order than they are to be
        self.begin()

    def is_of(self, payloads: Sequence[Payload]) -> bool:
        """Whether it is of these."""
        return [_name(one) for one in self._payloads] == [_name(one) for one in payloads]

    def begin(self) -> None:
        """Send again from the first one on that has failed, or was not sent; at first, all. After ``narrow`` only what
        has failed."""
        held = () if self._held is None else (self._held[0],)
        self._only = frozenset(self.failed) if self._is_narrow and not held else None
        late = () if self._late is None else (self._late,)
        self._first = min((*self.failed, *held, *late), default=self._first)
        if self._only:
            self._late = self._first
        self._is_narrow = False
        self.failed = {}
        self._held = None
        self._rest = self._outgoing(self._first)

    def narrow(self) -> None:
        """Some were refused, all others are there: of what is sent next only what has failed is sent again, each in a
        batch of its own. Those behind them are not there twice for it, unless one was refused for its neighbour's sake:
        see ``follows``."""
        self._is_narrow = True

    def follows(self) -> bool:
        """Of what was sent after ``narrow`` some is there now, behind messages of its key that were there before: send
        those again, so that the last of a key stays the last. Return whether there are any."""
        only, self._only, self._late = self._only, None, None
        taken = (only or frozenset()) - self.refused.keys()
        if not taken:
            return False
        again: set[Place] = set()
        keys: set[bytes] = set()
        for place, message, _ in self._outgoing(min(taken)):
            if message.key is None:  # there is no order of those
                continue
            if place in taken:
                keys.add(message.key)
            elif message.key in keys:
                again.add(place)
        self._late = min(taken) if again else None
        self._first, self._rest = min(taken), (one for one in self._outgoing(min(taken)) if one[0] in again)
        return bool(again)

    def send(self, producer: Producer, topic: str, wait: Callable[[], None]) -> None:
        """Hand all to a producer. Where ``wait`` raises it is gone on with by the next call.

        Args:
            producer: takes them.
            topic: goes to.
            wait: called when its queue is full.
        """
        from confluent_kafka import KafkaException

        produce, reported = producer.produce, self._reported
        one = self._held or next(self._rest, None)
        try:
            while one is not None:
                place, message, name = one
                headers: list[tuple[str, Any]] = [pair for pair in message.headers if pair[0] != RECORD_ID]
                headers.append((RECORD_ID, name))
                try:
                    produce(topic, message.value, message.key, headers=headers, timestamp=message.time or 0,
                            on_delivery=partial(reported, place))
                except BufferError:
                    wait()
                    continue
                except KafkaException as error:
                    if error.args[0].name() not in _REFUSED:
                        raise
                    self._refuse(place, message, error.args[0])
                one = next(self._rest, None)
        finally:
            self._held = one

    def refuse_failed(self) -> bool:
        """Of messages that were sent each in a batch of its own: what failed for its own sake is refused. Return
        whether that is all that failed."""
        mine = {place for place, error in self.failed.items() if error.name() in _REFUSED}
        if mine:
            for place, message, _ in self._outgoing(min(mine)):
                if place in mine:
                    self._refuse(place, message, self.failed.pop(place))
        return not self.failed

    def refusals(self) -> list[Refusal]:
        """What was refused, in order."""
        return [self.refused[place] for place in sorted(self.refused)]

    def _outgoing(self, first: Place) -> Iterator[_Outgoing]:
        for index, payload in enumerate(self._payloads):
            if index < first[0]:
                continue
            for item, (message, name) in enumerate(zip(stored_in(payload.data), ids_of(payload), strict=True)):
                place = index, item
                if place >= first and place not in self.refused and (self._only is None or place in self._only):
                    yield place, message, name

    def _reported(self, place: Place, error: KafkaError | None, message: object) -> None:
        if error is not None:
            self.failed[place] = error

    def _refuse(self, place: Place, message: Stored, error: KafkaError) -> None:
        self.refused[place] = refusal_of(place, message, _REFUSED[error.name()], error.str())


def refusals_again(index: int, payload: Payload, known: Sequence[tuple[int, str, str]]) -> Iterator[Refusal]:
    """What of a batch was refused when it was written, with the items as they come again."""
    messages = stored_in(payload.data)
    for item, reason, detail in known:
        if item >= len(messages):
            continue  # its source had fewer records this time: compaction took some
        yield Refusal(index, item, reason, detail, _raw(messages[item]))


def refusal_of(place: Place, message: Stored, reason: str, detail: str) -> Refusal:
    """The refusal of a message."""
    detail = f"{detail} ({_size_of(message)} bytes)" if reason == "too_large" else detail
    return Refusal(place[0], place[1], reason, detail[:_SHOWN], _raw(message))


def _raw(message: Stored) -> bytes:
    return pack_items([Message(message.value, message.key, message.time, message.headers)], 1)


def _require_sayable(item: Message | Record) -> None:
    """What the client would send as something else, without a word."""
    if isinstance(item.time, int) and item.time <= 0:
        raise Reject("no_message", f"time: expected ms since 1970, more than 0, got {item.time}")
    for header in item.headers:
        if isinstance(header[0], str) and "\0" in header[0]:
            raise Reject("no_message", "headers: expected names without a NUL character, got one with it")


def _size_of(one: Stored) -> int:
    return len(one.value or b"") + len(one.key or b"") + sum(
        len(name.encode()) + len(value or b"") for name, value in one.headers)


def _name(payload: Payload) -> tuple[str, int, int]:
    return payload.partition, payload.start, payload.end
