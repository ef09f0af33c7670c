"""What a published message is known by: the same however often its record is delivered, after any crash.

    <partition>:<position>:<index>         the record it was made of, and which of what was made of that for this sink
    <partition>:<start>-<end>:<index>      the batch, where no single record is known: what a window emits, what an
                                           application made of a whole slice at once

A partition is named by the run that began it, or by the state of the shard that emits, so two pipelines, and a run that
begins anew, never make the same id. A broker that takes a message twice gives both to its consumers, under one id.

What does not work: to number the messages of a batch, where records are known. A source may have fewer of them when a
batch is delivered again (compaction, deleted records): the same message would have two ids, and two messages the same
one, of which a consumer that drops what it has seen would lose the second.

Pure.
"""

from __future__ import annotations

from actors.runtime.values import Payload


def ids_of(payload: Payload) -> list[str]:
    """Return the ids of the items of a batch, in order.

    Example::

        ids_of(Payload(partition="0a1b", start=0, end=9, count=3, data=b"", places=(0, 4, 4)))
        # ["0a1b:0:0", "0a1b:4:0", "0a1b:4:1"]
    """
    if len(payload.places) != payload.count:
        prefix = f"{payload.partition}:{payload.start}-{payload.end}:"
        return [f"{prefix}{index}" for index in range(payload.count)]
    ids: list[str] = []
    before, index = -1, 0
    for place in payload.places:
        index = index + 1 if place == before else 0
        before = place
        ids.append(f"{payload.partition}:{place}:{index}")
    return ids


def place_of(record_id: str) -> tuple[str, int, int] | None:
    """Of an id: the partition, the position of its record or the start of its batch, and the position behind that;
    None: it is none.

    Example::

        place_of("0a1b:4:1")  # ("0a1b", 4, 5)
    """
    partition, _, rest = record_id.rpartition(":")[0].rpartition(":")
    start, dash, end = rest.partition("-")
    try:
        return (partition, int(start), int(end) if dash else int(start) + 1) if partition else None
    except ValueError:
        return None
