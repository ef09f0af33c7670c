"""What shards have said to be late in a batch, or in a part of one, by shard. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from actors.runtime.messages import Late


def take_note(known: dict[int, Late], late: Iterable[Late]) -> None:
    """Shards have said more. What was before the batch is what was said of it first: there may be letters by it."""
    for said in late:
        before = known.get(said.shard, said)
        newest = said.newest if before.newest is None else before.newest
        known[said.shard] = Late(said.shard, max(before.before, said.before), newest)


def of_piece(late: Mapping[int, Late], is_first: bool) -> dict[int, Late]:
    """What was said of a batch, as far as it holds of a piece of it: what was before the batch is all that was before
    its first piece only."""
    if is_first:
        return dict(late)
    return {shard: msgspec.structs.replace(said, newest=None) for shard, said in late.items()}
