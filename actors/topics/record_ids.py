"""What a published message is known by: the same however often its batch is delivered, after any crash.

``<partition>:<start>-<end>:<index>``: the batch, and which of its items for this sink. A partition is named by the run
that began it, or by the state of the shard that emits, so two pipelines, and a run that begins anew, never make the
same id. A broker that takes a message twice gives both to its consumers, under one id.

Pure.
"""

from __future__ import annotations

from actors.runtime.values import Payload


def prefix_of(payload: Payload) -> str:
    """Return what the ids of the items of a batch begin with: their number follows.

    Example::

        prefix_of(Payload(partition="0a1b", start=0, end=4096, count=2, data=b""))  # "0a1b:0-4096:"
    """
    return f"{payload.partition}:{payload.start}-{payload.end}:"

