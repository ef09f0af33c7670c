"""What a letter of a writer is about: key, time and headers of the item that its sink has refused.

The letter has the item as it was packed for its sink, which knows how to take it apart (``SinkOptions.unpack``), with
the options of now. Where it cannot, or the item has no key, the bytes are all that there is to see.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from actors.runtime.framing import Record
from actors.runtime.manifest import Component
from actors.runtime.ports import SinkOptions
from actors.sinks.dead_letters import StoredLetter
from actors.topics.blocks import Message

_WRITER = "writer."


def item_in(letter: StoredLetter, sinks: Mapping[str, Component[SinkOptions]]) -> Record | None:
    """The item as a record; None: the letter is of no writer, or its item cannot be seen."""
    sink = sinks.get(letter.stage.removeprefix(_WRITER)) if letter.stage.startswith(_WRITER) else None
    if sink is None or letter.envelope:
        return None
    try:
        items = sink.load().unpack(letter.raw)
    except Exception:  # another kind of sink has packed it: any of its errors means that
        return None
    return _as_record(items[0]) if items is not None and len(items) == 1 else None


def _as_record(item: Any) -> Record | None:
    if isinstance(item, Message):
        headers = tuple((name, _bytes(value)) for name, value in item.headers)
        return Record(-1, _bytes(item.value), key=_bytes(item.key), headers=headers, time=item.time)
    if isinstance(item, tuple | list) and len(item) == 2 and isinstance(item[0], bytes):
        return Record(-1, item[1] if isinstance(item[1], bytes) else None, key=item[0])
    return None


def _bytes(data: bytes | str | None) -> bytes | None:
    return data.encode() if isinstance(data, str) else data
